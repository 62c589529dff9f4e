package contract

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestModelPathProblem(t *testing.T) {
	for _, dir := range []string{"/kubedl-model", "/models", "/models/llm-1/v1.0", "/opt/model_a", "/mnt/models", "/var1", "/etcetera", "/kubedl-model-2", "/" + strings.Repeat("x", MaxModelPath-1)} {
		t.Run(dir, func(t *testing.T) { assert.Empty(t, ModelPathProblem(dir)) })
	}
	tests := map[string]string{
		"":                             "must be an absolute path",
		"/":                            "must be an absolute path",
		"models":                       "must be an absolute path",
		"/models/":                     "must be an absolute path",
		"//models":                     "must be an absolute path",
		"/models//a":                   "must be an absolute path",
		"/models/./a":                  "must be an absolute path",
		"/models/../etc":               "must be an absolute path",
		"/.wh.models":                  "must be an absolute path",
		"/.modelkiln":                  "must be an absolute path",
		"/-rf":                         "must be an absolute path",
		"/a b":                         "must be an absolute path",
		"/a$(id)":                      "must be an absolute path",
		"/a\n":                         "must be an absolute path",
		"/é":                           "must be an absolute path",
		"/{{workflow.uid}}":            "must be an absolute path",
		"/" + strings.Repeat("x", 128): "must be an absolute path",
		"/etc":                         "must not be in /etc, which belongs to the system",
		"/proc/1/root":                 "must not be in /proc",
		"/usr/share/models":            "must not be in /usr",
		"/kiln":                        "must not be in /kiln",
		"/kaniko/models":               "must not be in /kaniko",
		"/source":                      "must not be in /source",
		"/push-secret":                 "must not be in /push-secret",
		"/kubedl-model/1":              "must not be in /kubedl-model, which becomes a link to it",
	}
	for dir, want := range tests {
		t.Run(dir, func(t *testing.T) { assert.Contains(t, ModelPathProblem(dir), want) })
	}
}
