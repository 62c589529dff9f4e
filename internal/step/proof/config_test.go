package proof

import (
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
)

func TestConfigDifference(t *testing.T) {
	const modelPath = "KUBEDL_MODEL_PATH=/kubedl-model"
	linux := func(config v1.Config) *v1.ConfigFile {
		return &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: config}
	}
	tests := map[string]struct {
		image, base *v1.ConfigFile
		want        string
	}{
		"of Stream": {
			image: linux(v1.Config{Env: []string{"PATH=/bin", modelPath}, Cmd: []string{"sh"}}),
			base:  linux(v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"sh"}}),
		},
		"of Stream on scratch": {image: linux(v1.Config{Env: []string{modelPath}}), base: linux(v1.Config{})},
		"of Kaniko on scratch": {image: linux(v1.Config{Env: []string{kanikoPath, modelPath}}), base: linux(v1.Config{})},
		"of Kaniko on a base image with another model path": {
			image: linux(v1.Config{Env: []string{modelPath, "PATH=/bin"}}),
			base:  linux(v1.Config{Env: []string{"KUBEDL_MODEL_PATH=/old", "PATH=/bin"}}),
		},
		"empty lists are none": {
			image: linux(v1.Config{Env: []string{modelPath}, Cmd: []string{}, Volumes: map[string]struct{}{}}),
			base:  linux(v1.Config{Labels: map[string]string{}}),
		},
		"a base image without a platform": {image: linux(v1.Config{Env: []string{modelPath}}), base: &v1.ConfigFile{}},
		"another path of programs on scratch": {
			image: linux(v1.Config{Env: []string{"PATH=/kubedl-model", modelPath}}), base: linux(v1.Config{}), want: "another Env",
		},
		"variables in another order": {
			image: linux(v1.Config{Env: []string{"A=2", "A=1", modelPath}}), base: linux(v1.Config{Env: []string{"A=1", "A=2"}}), want: "another Env",
		},
		"no model path":       {image: linux(v1.Config{}), base: linux(v1.Config{}), want: "does not set KUBEDL_MODEL_PATH"},
		"a second model path": {image: linux(v1.Config{Env: []string{"KUBEDL_MODEL_PATH=/x", modelPath}}), base: linux(v1.Config{}), want: "or sets it twice"},
		"another operating system": {
			image: &v1.ConfigFile{OS: "windows", Architecture: "amd64"}, base: linux(v1.Config{}), want: "for windows/",
		},
		"a time of creation": {
			image: &v1.ConfigFile{OS: "linux", Architecture: "amd64", Created: v1.Time{Time: time.Unix(0, 0)}, Config: v1.Config{
				Env: []string{modelPath}, Labels: map[string]string{"org.opencontainers.image.created": "1970-01-01T00:00:00Z"},
			}},
			base: linux(v1.Config{}),
		},
		"another time of creation in the label": {
			image: &v1.ConfigFile{OS: "linux", Architecture: "amd64", Created: v1.Time{Time: time.Unix(1, 0)}, Config: v1.Config{
				Env: []string{modelPath}, Labels: map[string]string{"org.opencontainers.image.created": "1970-01-01T00:00:00Z"},
			}},
			base: linux(v1.Config{}), want: "is not the time in its config",
		},
		"a missing setting": {
			image: linux(v1.Config{Env: []string{modelPath}}), base: linux(v1.Config{StopSignal: "SIGINT"}), want: "another StopSignal",
		},
		"a health check": {
			image: linux(v1.Config{Env: []string{modelPath}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "x"}}}), base: linux(v1.Config{}), want: "another Healthcheck",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := configDifference(tt.image, tt.base, nil, []string{"org.opencontainers.image.created"})
			if tt.want == "" {
				assert.Empty(t, got)
				return
			}
			assert.Contains(t, got, tt.want)
		})
	}
}

func TestLabelDifference(t *testing.T) {
	base := map[string]string{"maintainer": "a", "version": "base"}
	added := map[string]string{"version": "v1", "model": "resnet", "creator": "ann"}
	tests := map[string]struct {
		image map[string]string
		want  string
	}{
		"the same":                 {image: map[string]string{"maintainer": "a", "version": "v1", "model": "resnet", "creator": "ann"}},
		"another free one":         {image: map[string]string{"maintainer": "a", "version": "v1", "model": "resnet", "creator": "bob"}},
		"no free one":              {image: map[string]string{"maintainer": "a", "version": "v1", "model": "resnet"}},
		"another one":              {map[string]string{"maintainer": "a", "version": "v1", "model": "bert"}, `its label model is "bert" instead of "resnet"`},
		"one less":                 {map[string]string{"maintainer": "a", "version": "v1"}, "it lacks the label model"},
		"one more, which is empty": {map[string]string{"maintainer": "a", "version": "v1", "model": "resnet", "x": ""}, "it has the label x"},
		"that of the base image":   {map[string]string{"maintainer": "a", "version": "base", "model": "resnet"}, `its label version is "base" instead of "v1"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, labelDifference(tt.image, base, added, []string{"creator"}))
		})
	}
}
