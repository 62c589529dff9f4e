package workload

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

func TestLacksTrainLabel(t *testing.T) {
	const (
		labelled   = "{metadata: {labels: {model.kubedl.io/train-version: ''}}, spec: {containers: [{name: train}]}}"
		unlabelled = "{metadata: {labels: {app: train}}, spec: {containers: [{name: train}]}}"
	)
	for name, tt := range map[string]struct {
		manifest string
		want     bool
	}{
		"a Job with the label on its pods":     {"{kind: Job, spec: {template: " + labelled + "}}", false},
		"a Job without":                        {"{kind: Job, spec: {template: " + unlabelled + "}}", true},
		"a Job with the label on itself":       {"{kind: Job, metadata: {labels: {model.kubedl.io/train-version: ''}}, spec: {template: " + unlabelled + "}}", true},
		"a JobSet with the label on one pod":   {"{kind: JobSet, spec: {replicatedJobs: [{template: {spec: {template: " + unlabelled + "}}}, {template: {spec: {template: " + labelled + "}}}]}}", false},
		"a JobSet without":                     {"{kind: JobSet, spec: {replicatedJobs: [{template: {spec: {template: " + unlabelled + "}}}]}}", true},
		"a PyTorchJob with the label on one":   {"{kind: PyTorchJob, spec: {pytorchReplicaSpecs: {Master: {template: " + labelled + "}, Worker: {template: " + unlabelled + "}}}}", false},
		"a PyTorchJob without":                 {"{kind: PyTorchJob, spec: {pytorchReplicaSpecs: {Master: {template: " + unlabelled + "}}}}", true},
		"a TrainJob, whose runtime is unknown": {"{kind: TrainJob, spec: {podTemplateOverrides: [" + unlabelled + "]}}", false},
		"no pod template":                      {"{kind: Pipeline, spec: {template: train}}", false},
		"no spec":                              {"{kind: Pipeline}", false},
		"another type of spec":                 {"{kind: Pipeline, spec: {template: {spec: [containers]}}}", false},
	} {
		t.Run(name, func(t *testing.T) {
			object := &unstructured.Unstructured{}
			require.NoError(t, yaml.Unmarshal([]byte(tt.manifest), &object.Object))
			assert.Equal(t, tt.want, LacksTrainLabel(object))
		})
	}
}
