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

func TestAllowsVersions(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "": false} {
		t.Run(value, func(t *testing.T) {
			namespace := &metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelVersionsFromWorkloads: value}}
			assert.Equal(t, want, AllowsVersions(namespace))
		})
	}
	assert.False(t, AllowsVersions(&metav1.ObjectMeta{}), "without the label")
}
