package workflow

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestTolerationsAreWrittenAsKubectlTaintWritesTaints(t *testing.T) {
	for name, tc := range map[string]struct {
		list []v1alpha1.Toleration
		want string
	}{
		"none": {nil, ""},
		"a value is equal unless it is said otherwise": {[]v1alpha1.Toleration{{Key: "dedicated", Value: "models", Effect: corev1.TaintEffectNoSchedule}}, "dedicated=models:NoSchedule"},
		"an empty value is a value":                    {[]v1alpha1.Toleration{{Key: "pool", Operator: corev1.TolerationOpEqual, Effect: corev1.TaintEffectNoSchedule}}, "pool=:NoSchedule"},
		"a key alone is every value":                   {[]v1alpha1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}, "gpu:NoExecute"},
		"no effect is every effect":                    {[]v1alpha1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}, "gpu:"},
		"no key is every taint of the effect":          {[]v1alpha1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}, ":NoExecute"},
		"neither is every taint":                       {[]v1alpha1.Toleration{{Operator: corev1.TolerationOpExists}}, ":"},
		"several, in their order": {[]v1alpha1.Toleration{
			{Key: "z", Operator: corev1.TolerationOpExists}, {Key: "a", Value: "1"},
		}, "z:,a=1:"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, formatTolerations(tc.list))
		})
	}
}

func TestResourcesAreTheOperatorsWithTheVersionsOverThem(t *testing.T) {
	type quantityOf = map[corev1.ResourceName]resource.Quantity
	opts := Options{
		Requests: quantityOf{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")},
		Limits:   quantityOf{"memory": resource.MustParse("1Gi")},
	}
	of := func(pairs ...string) quantityOf {
		list := quantityOf{}
		for i := 0; i < len(pairs); i += 2 {
			list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return list
	}
	for name, tc := range map[string]struct {
		opts         Options
		own          v1alpha1.BuildResources
		wantRequests string
		wantLimits   string
	}{
		"nothing is set anywhere":         {Options{}, v1alpha1.BuildResources{}, "", ""},
		"the operator's":                  {opts, v1alpha1.BuildResources{}, "cpu=500m,memory=256Mi", "memory=1Gi"},
		"one replaced":                    {opts, v1alpha1.BuildResources{Requests: of("cpu", "2")}, "cpu=2,memory=256Mi", "memory=1Gi"},
		"one added":                       {opts, v1alpha1.BuildResources{Limits: of("ephemeral-storage", "20Gi")}, "cpu=500m,memory=256Mi", "ephemeral-storage=20Gi,memory=1Gi"},
		"as Kubernetes writes quantities": {Options{}, v1alpha1.BuildResources{Requests: of("memory", "1024Mi", "cpu", "0.25")}, "cpu=250m,memory=1Gi", ""},
		"a request above the operator's limit lifts it":  {opts, v1alpha1.BuildResources{Requests: of("memory", "4Gi")}, "cpu=500m,memory=4Gi", "memory=4Gi"},
		"a limit below the operator's request lowers it": {opts, v1alpha1.BuildResources{Limits: of("memory", "128Mi")}, "cpu=500m,memory=128Mi", "memory=128Mi"},
	} {
		t.Run(name, func(t *testing.T) {
			requests, limits := resources(tc.own, tc.opts)
			assert.Equal(t, tc.wantRequests, formatResources(requests))
			assert.Equal(t, tc.wantLimits, formatResources(limits))
		})
	}
	assert.Equal(t, "cpu=500m,memory=256Mi", formatResources(opts.Requests), "the operator's own stay as they are")
	assert.Equal(t, "memory=1Gi", formatResources(opts.Limits), "the operator's own stay as they are")
}

func TestNodeSelectorIsInTheOrderOfItsKeys(t *testing.T) {
	assert.Empty(t, formatNodeSelector(nil))
	assert.Equal(t, "disktype=ssd,spot=,zone=a", formatNodeSelector(map[string]v1alpha1.NodeLabelValue{"zone": "a", "disktype": "ssd", "spot": ""}))
}

// The word that a fifth collision would need does not exist.
func TestAVersionWhoseEveryAutomaticTagIsTakenSaysSo(t *testing.T) {
	mv := &v1alpha1.ModelVersion{Spec: v1alpha1.ModelVersionSpec{ImageRepo: "modelhub/resnet"}}
	mv.UID = uid
	_, problem := imageOf(mv, len(automaticTagLengths), Options{})
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonTagTaken, problem.Reason)
}

func TestCollisionIsReadFromTheTagThatWasTaken(t *testing.T) {
	mv := &v1alpha1.ModelVersion{}
	mv.UID = uid
	for image, want := range map[string]int{
		"":                                  0,
		"modelhub/resnet:v1.0":              0,
		"modelhub/resnet:v1c072":            0,
		"modelhub/resnet:v1c072d5e":         1,
		"modelhub/resnet:v1c072d5e8a414f0b": 2,
		"localhost:5000/modelhub/resnet:v1c072d5e8a414f0b9c365d2e7f1a0b94": 3,
	} {
		assert.Equal(t, want, TagCollision(mv, image), image)
	}
}

func TestNumberIsZeroForWhatIsNone(t *testing.T) {
	for text, want := range map[string]int64{"3": 3, "": 0, "-1": 0, "x": 0, "9223372036854775808": 0} {
		assert.Equal(t, want, count(text), text)
	}
}
