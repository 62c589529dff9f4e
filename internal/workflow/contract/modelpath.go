package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MaxModelPath is the maximum number of characters of a model's directory in an image.
const MaxModelPath = 128

// modelPath matches the directories of an image that can hold a model: they need no
// quotes in a shell, and are no names by which layers delete files.
var modelPath = regexp.MustCompile(`\A(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+\z`)

// reservedDirs are the directories at the root of an image that belong to its system,
// or to the container that builds it.
var reservedDirs = []string{
	"argo", "bin", "boot", "busybox", "dev", "etc", "kaniko", "kiln", "lib", "lib32", "lib64", "libx32", "proc", "push-secret",
	"registry-ca", "root", "run", "sbin", "source", "source-secret", "sys", "tmp", "usr", "var",
}

// ModelPathProblem returns why an image cannot have the model's files in a directory,
// as the predicate of a sentence, or "". The rules of spec.build.modelPath are the same.
func ModelPathProblem(dir string) string {
	top, below, _ := strings.Cut(strings.TrimPrefix(dir, "/"), "/")
	switch {
	case len(dir) > MaxModelPath || !modelPath.MatchString(dir):
		return fmt.Sprintf("must be an absolute path of letters, digits, '_', '.' and '-' with at most %d characters, without names that begin with '.' or '-', for example /models", MaxModelPath)
	case slices.Contains(reservedDirs, top):
		return fmt.Sprintf("must not be in /%s, which belongs to the system: choose another directory, for example /models", top)
	case top == "kubedl-model" && below != "":
		return "must not be in /kubedl-model, which becomes a link to it: choose another directory, for example /models"
	default:
		return ""
	}
}
