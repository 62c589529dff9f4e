package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxNameLength leaves room for "-" and the five characters that a memoized
// resubmit appends within the 63 that Argo allows for a Workflow's name.
const maxNameLength = 57

// Name returns the name of a ModelVersion's attempt:
// <modelversion>-<uid5>-<attempt>. The UID distinguishes a ModelVersion that
// was deleted and created again from its predecessor. A name longer than 57
// characters is shortened, with a hash of the whole in place of the rest.
func Name(modelVersion string, uid types.UID, attempt int64) string {
	return withSuffix(modelVersion, fmt.Sprintf("-%s-%d", uidPrefix(uid, 5), attempt), maxNameLength)
}

// ModelVersionName returns the name of the ModelVersion that is created from the
// template on a workload: mv-<workload>-<uid5>, short enough for the value of a
// pod's label.
func ModelVersionName(workload string, uid types.UID) string {
	return withSuffix("mv-"+workload, "-"+uidPrefix(uid, 5), validation.LabelValueMaxLength)
}

// withSuffix returns name and suffix, with name shortened where both together
// are longer than limit.
func withSuffix(name, suffix string, limit int) string {
	if len(name)+len(suffix) <= limit {
		return name + suffix
	}
	return shorten(name, limit-len(suffix)) + suffix
}

// labelValue returns name, shortened where it is too long for the value of a
// label.
func labelValue(name string) string {
	return withSuffix(name, "", validation.LabelValueMaxLength)
}

// shorten cuts name to limit characters, the last nine of them "-" and eight
// hex digits of the whole name's SHA-256.
func shorten(name string, limit int) string {
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:limit-len(hash)-1], "-.") + "-" + hash
}

// uidPrefix returns the first n hex digits of a UID without its dashes, or all
// of them where there are fewer.
func uidPrefix(uid types.UID, n int) string {
	digits := strings.ReplaceAll(string(uid), "-", "")
	return digits[:min(n, len(digits))]
}
