package workload

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestAllowsVersions(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "": false} {
		t.Run(value, func(t *testing.T) {
			namespace := &metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelVersionsFromWorkloads: value}}
			assert.Equal(t, want, AllowsVersions(namespace))
		})
	}
	assert.False(t, AllowsVersions(&metav1.ObjectMeta{}), "without the label")
}

func TestAssignsUsers(t *testing.T) {
	assert.True(t, AssignsUsers(&metav1.ObjectMeta{Annotations: map[string]string{"openshift.io/sa.scc.uid-range": "1000700000/10000"}}))
	assert.False(t, AssignsUsers(&metav1.ObjectMeta{Annotations: map[string]string{"openshift.io/sa.scc.uid-range": ""}}))
	assert.False(t, AssignsUsers(&metav1.ObjectMeta{}))
}
