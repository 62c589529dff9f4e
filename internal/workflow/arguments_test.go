package workflow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

func TestFormatTolerations(t *testing.T) {
	for name, tc := range map[string]struct {
		list []v1alpha1.Toleration
		want string
	}{
		"none":          {nil, ""},
		"key and value": {[]v1alpha1.Toleration{{Key: "dedicated", Value: "models", Effect: corev1.TaintEffectNoSchedule}}, "dedicated=models:NoSchedule"},
		"empty value":   {[]v1alpha1.Toleration{{Key: "pool", Operator: corev1.TolerationOpEqual, Effect: corev1.TaintEffectNoSchedule}}, "pool=:NoSchedule"},
		"any value":     {[]v1alpha1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}, "gpu:NoExecute"},
		"any effect":    {[]v1alpha1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}, "gpu:"},
		"any key":       {[]v1alpha1.Toleration{{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}, ":NoExecute"},
		"any taint":     {[]v1alpha1.Toleration{{Operator: corev1.TolerationOpExists}}, ":"},
		"several keep their order": {[]v1alpha1.Toleration{
			{Key: "z", Operator: corev1.TolerationOpExists}, {Key: "a", Value: "1"},
		}, "z:,a=1:"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, formatTolerations(tc.list))
		})
	}
}

func TestResources(t *testing.T) {
	type quantities = map[corev1.ResourceName]resource.Quantity
	opts := Options{
		Requests: quantities{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("256Mi")},
		Limits:   quantities{"memory": resource.MustParse("1Gi")},
	}
	list := func(pairs ...string) quantities {
		all := quantities{}
		for i := 0; i < len(pairs); i += 2 {
			all[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return all
	}
	for name, tc := range map[string]struct {
		opts         Options
		overrides    v1alpha1.BuildResources
		wantRequests string
		wantLimits   string
	}{
		"none":                    {Options{}, v1alpha1.BuildResources{}, "", ""},
		"the operator's defaults": {opts, v1alpha1.BuildResources{}, "cpu=500m,memory=256Mi", "memory=1Gi"},
		"one overridden":          {opts, v1alpha1.BuildResources{Requests: list("cpu", "2")}, "cpu=2,memory=256Mi", "memory=1Gi"},
		"one added":               {opts, v1alpha1.BuildResources{Limits: list("ephemeral-storage", "20Gi")}, "cpu=500m,memory=256Mi", "ephemeral-storage=20Gi,memory=1Gi"},
		"canonical quantities":    {Options{}, v1alpha1.BuildResources{Requests: list("memory", "1024Mi", "cpu", "0.25")}, "cpu=250m,memory=1Gi", ""},
		"a request above the default limit raises the limit":   {opts, v1alpha1.BuildResources{Requests: list("memory", "4Gi")}, "cpu=500m,memory=4Gi", "memory=4Gi"},
		"a limit below the default request lowers the request": {opts, v1alpha1.BuildResources{Limits: list("memory", "128Mi")}, "cpu=500m,memory=128Mi", "memory=128Mi"},
	} {
		t.Run(name, func(t *testing.T) {
			requests, limits := resources(tc.overrides, tc.opts)
			assert.Equal(t, tc.wantRequests, formatResources(requests))
			assert.Equal(t, tc.wantLimits, formatResources(limits))
		})
	}
	assert.Equal(t, "cpu=500m,memory=256Mi", formatResources(opts.Requests), "the operator's defaults are not changed")
	assert.Equal(t, "memory=1Gi", formatResources(opts.Limits), "the operator's defaults are not changed")
}

func TestFormatNodeSelector(t *testing.T) {
	assert.Empty(t, formatNodeSelector(nil))
	assert.Equal(t, "disktype=ssd,spot=,zone=a", formatNodeSelector(map[string]v1alpha1.NodeLabelValue{"zone": "a", "disktype": "ssd", "spot": ""}))
}

func TestImageOfTagsTaken(t *testing.T) {
	mv := &v1alpha1.ModelVersion{Spec: v1alpha1.ModelVersionSpec{ImageRepo: "modelhub/resnet"}}
	mv.UID = uid
	_, problem := imageOf(mv, len(automaticTagLengths), Options{})
	require.NotNil(t, problem)
	assert.Equal(t, v1alpha1.ReasonTagTaken, problem.Reason)
}

func TestTagCollision(t *testing.T) {
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

func TestCount(t *testing.T) {
	for text, want := range map[string]int64{"3": 3, "": 0, "-1": 0, "x": 0, "9223372036854775808": 0} {
		assert.Equal(t, want, count(text), text)
	}
}

func TestRebuildRequest(t *testing.T) {
	for name, tc := range map[string]struct{ value, want string }{
		"none":                   {"", ""},
		"a date":                 {"Sun Mar  1 12:00:00 UTC 2026", "Sun Mar  1 12:00:00 UTC 2026"},
		"control characters":     {"a\x1b[2J\nb", "a [2J b"},
		"more than a status has": {strings.Repeat("é", 2000), strings.Repeat("é", maxRebuildRequest)},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, RebuildRequest(map[string]string{v1alpha1.AnnotationRebuild: tc.value}))
		})
	}
}
