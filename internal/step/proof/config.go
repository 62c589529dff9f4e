package proof

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/step/modelimage"
	"github.com/modelkiln/modelkiln/internal/text"
)

// kanikoPath is the environment that Kaniko gives an image whose base has none
// (pkg/constants in Kaniko 1.25).
const kanikoPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// configDifference describes how an image's config differs from what an engine
// writes, or returns "". base is that of the base image, and empty for scratch.
func configDifference(image, base *v1.ConfigFile, labels map[string]string, freeLabels []string) string {
	// A base image without a platform is for any.
	if base.Architecture != "" && (image.OS != base.OS || image.Architecture != base.Architecture) {
		return fmt.Sprintf("it is for %s/%s instead of %s/%s", image.OS, image.Architecture, base.OS, base.Architecture)
	}
	if difference := createdDifference(image); difference != "" {
		return difference
	}
	if difference := environmentDifference(image.Config.Env, base.Config.Env); difference != "" {
		return difference
	}
	if difference := labelDifference(image.Config.Labels, base.Config.Labels, labels, freeLabels); difference != "" {
		return difference
	}
	got, want := settings(image.Config), settings(base.Config)
	for _, name := range slices.Sorted(maps.Keys(union(got, want))) {
		if string(got[name]) != string(want[name]) {
			return fmt.Sprintf("its config has another %s than the base image", name)
		}
	}
	return ""
}

// createdDifference checks that the time in an image's labels, by which some tools find
// the newest image, is the one in its config, by which others do. Images of earlier
// versions have no label.
func createdDifference(image *v1.ConfigFile) string {
	label, found := image.Config.Labels[modelimage.LabelCreated]
	if found && image.Created.UTC().Format(time.RFC3339) != label {
		return "its label " + modelimage.LabelCreated + " is not the time in its config"
	}
	return ""
}

// environmentDifference compares environments. Whether the model's path is in the
// place of the base image's own, or at the end, depends on the engine.
func environmentDifference(image, base []string) string {
	const modelPath = v1alpha1.ModelPathEnv + "=" + v1alpha1.ModelPath
	isModelPath := func(variable string) bool { return strings.HasPrefix(variable, v1alpha1.ModelPathEnv+"=") }
	withoutModelPath := func(environment []string) []string {
		return slices.DeleteFunc(slices.Clone(environment), isModelPath)
	}
	got, want := withoutModelPath(image), withoutModelPath(base)
	if len(image)-len(got) != 1 || !slices.Contains(image, modelPath) {
		return "it does not set " + modelPath + ", or sets it twice"
	}
	if !slices.Equal(got, want) && (len(base) > 0 || !slices.Equal(got, []string{kanikoPath})) {
		return "its config has another Env than the base image"
	}
	return ""
}

// maxShown is how many characters of a label are shown.
const maxShown = 24

// labelDifference compares the labels of an image with those of the base image and
// those that a build adds.
func labelDifference(image, base, added map[string]string, free []string) string {
	want := union(base, added)
	for _, key := range slices.Sorted(maps.Keys(union(want, image))) {
		if slices.Contains(free, key) {
			continue
		}
		got, found := image[key]
		expected, known := want[key]
		switch {
		case !known:
			return fmt.Sprintf("it has the label %s", text.OneLine(key, 2*maxShown))
		case !found:
			return fmt.Sprintf("it lacks the label %s", key)
		case got != expected:
			return fmt.Sprintf("its label %s is %q instead of %q", key, text.OneLine(got, maxShown), text.OneLine(expected, maxShown))
		}
	}
	return ""
}

// settings returns the other fields of a config by name, without empty ones.
func settings(config v1.Config) map[string]json.RawMessage {
	config.Env, config.Labels = nil, nil
	fields := map[string]json.RawMessage{}
	// A config consists of texts, lists and maps, all of which can be encoded.
	raw, _ := json.Marshal(config)
	_ = json.Unmarshal(raw, &fields)
	return fields
}

// union returns the entries of both maps. Those of b have precedence.
func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, b)
	return all
}
