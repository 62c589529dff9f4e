package workload

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// LacksTrainLabel reports whether a workload has pod templates, and none of them has
// the label model.kubedl.io/train-version: its pods do not get the ModelVersion's
// storage. It returns false for a TrainJob, whose pod templates are in its runtime.
func LacksTrainLabel(object *unstructured.Unstructured) bool {
	if object.GetKind() == "TrainJob" {
		return false
	}
	templates, labelled := podTemplates(object.Object["spec"])
	return templates > 0 && labelled == 0
}

// podTemplates returns how many pod templates a value contains at any depth, and
// how many of them have the label. A pod template is a map whose spec has containers.
func podTemplates(value any) (all, labelled int) {
	var children []any
	switch v := value.(type) {
	case []any:
		children = v
	case map[string]any:
		if spec, _ := v["spec"].(map[string]any); spec["containers"] != nil {
			labels, _, _ := unstructured.NestedStringMap(v, "metadata", "labels")
			if _, found := labels[v1alpha1.LabelTrainVersion]; found {
				return 1, 1
			}
			return 1, 0
		}
		for _, child := range v {
			children = append(children, child)
		}
	}
	for _, child := range children {
		a, l := podTemplates(child)
		all, labelled = all+a, labelled+l
	}
	return all, labelled
}
