package apierr

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestIsRejected(t *testing.T) {
	resource := schema.GroupResource{Group: "model.kubedl.io", Resource: "modelversions"}
	forbidden := apierrors.NewForbidden(resource, "resnet-1", errors.New("exceeded quota"))
	terminating := apierrors.NewForbidden(resource, "resnet-1", errors.New("namespace is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"no error":              {nil, false},
		"invalid":               {apierrors.NewInvalid(schema.GroupKind{Kind: "ModelVersion"}, "resnet-1", nil), true},
		"forbidden":             {forbidden, true},
		"forbidden, wrapped":    {fmt.Errorf("create ModelVersion: %w", forbidden), true},
		"bad request":           {apierrors.NewBadRequest("unknown field"), true},
		"namespace terminating": {terminating, false},
		"not found":             {apierrors.NewNotFound(resource, "resnet-1"), false},
		"conflict":              {apierrors.NewConflict(resource, "resnet-1", errors.New("stale")), false},
		"another error":         {errors.New("connection refused"), false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, IsRejected(tt.err))
		})
	}
}
