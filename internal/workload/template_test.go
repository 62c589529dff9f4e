package workload

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestHasTemplate(t *testing.T) {
	for name, tt := range map[string]struct {
		annotations map[string]string
		want        bool
	}{
		"no annotations":      {nil, false},
		"another annotation":  {map[string]string{"example.com/note": "x"}, false},
		"a template":          {map[string]string{v1alpha1.AnnotationModelVersion: "modelName: resnet"}, true},
		"an empty annotation": {map[string]string{v1alpha1.AnnotationModelVersion: ""}, true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, HasTemplate(&metav1.ObjectMeta{Annotations: tt.annotations}))
		})
	}
}
