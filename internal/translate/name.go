package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// maxWorkflowName leaves room for "-" and the five characters that a memoized
// resubmit appends within the 63 that Argo allows a Workflow's name.
const maxWorkflowName = 57

// WorkflowName is the name of a version's attempt: <mv>-<uid5>-<attempt>. The
// UID keeps a version that was deleted and made again apart from its
// predecessor. A name longer than 57 characters is cut, with a hash of the
// whole in its place.
func WorkflowName(modelVersion string, uid types.UID, attempt int64) string {
	suffix := fmt.Sprintf("-%s-%d", uidPrefix(uid, 5), attempt)
	if len(modelVersion)+len(suffix) <= maxWorkflowName {
		return modelVersion + suffix
	}
	return shorten(modelVersion, maxWorkflowName-len(suffix)) + suffix
}

// labelValue is name itself where it can be a label's value, and cut with a
// hash of the whole where it is too long for one.
func labelValue(name string) string {
	if len(name) <= validation.LabelValueMaxLength {
		return name
	}
	return shorten(name, validation.LabelValueMaxLength)
}

// shorten cuts name to limit characters, the last nine of them "-" and eight
// hex digits of the whole name's SHA-256.
func shorten(name string, limit int) string {
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:limit-len(hash)-1], "-.") + "-" + hash
}

// uidPrefix is the first n hex digits of a UID, dashes left out, or all of
// them where there are fewer.
func uidPrefix(uid types.UID, n int) string {
	digits := strings.ReplaceAll(string(uid), "-", "")
	return digits[:min(n, len(digits))]
}
