package metrics

import (
	"slices"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// reasonOther stands for every reason that is not one of the API's. A custom
// template can report any reason, and each would become a series that never
// disappears.
const reasonOther = "Other"

// reasonLabel returns the reason, or Other if it is not one of the API's.
func reasonLabel(reason string) string {
	if slices.Contains(v1alpha1.Reasons, reason) {
		return reason
	}
	return reasonOther
}
