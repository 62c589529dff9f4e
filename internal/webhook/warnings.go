package webhook

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// warningsKey is the key of the warnings in the context of a request.
type warningsKey struct{}

// WithWarnings returns a handler that adds what the given one reports with warnf to
// its response. The API server passes warnings on to its client; kubectl prints them.
func WithWarnings(handler admission.Handler) admission.Handler {
	return admission.HandlerFunc(func(ctx context.Context, request admission.Request) admission.Response {
		var warnings []string
		response := handler.Handle(context.WithValue(ctx, warningsKey{}, &warnings), request)
		return response.WithWarnings(warnings...)
	})
}

// warnf adds a warning to the response of the request that the context belongs to.
func warnf(ctx context.Context, format string, args ...any) {
	if warnings, found := ctx.Value(warningsKey{}).(*[]string); found {
		*warnings = append(*warnings, fmt.Sprintf(format, args...))
	}
}
