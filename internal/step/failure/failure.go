// Package failure defines how a step fails: with a reason for programs and a
// message for users.
package failure

import (
	"errors"
	"fmt"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/text"
)

// maxLength is the maximum number of characters of a message. Messages are
// shown in the status of a ModelVersion and in tables.
const maxLength = 500

// Error is the failure of a step.
type Error struct {
	// Reason is one of the reasons in api/v1alpha1.
	Reason string
	// Message explains what failed and what to do about it, for the user who wants
	// the image.
	Message string
	// Transient is true if a retry may succeed without any fix.
	Transient bool
	// Cause is the underlying error, for the log. It may be nil.
	Cause error
}

// New returns a failure whose message is formatted as by fmt.Sprintf. The
// message becomes a single line of at most 500 characters without a full stop,
// whatever the arguments contain.
func New(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: text.Sentence(fmt.Sprintf(format, args...), maxLength)}
}

// WithCause sets the underlying error and returns the failure.
func (e *Error) WithCause(cause error) *Error {
	e.Cause = cause
	return e
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Message
	}
	return fmt.Sprintf("%s (%v)", e.Message, e.Cause)
}

func (e *Error) Unwrap() error { return e.Cause }

// Of returns the failure that err wraps. Any other error, such as a full disk,
// becomes a failure with the reason BuildFailed.
func Of(err error) *Error {
	var failure *Error
	if errors.As(err, &failure) {
		return failure
	}
	return New(v1alpha1.ReasonBuildFailed, "%v", err)
}
