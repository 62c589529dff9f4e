package workflow_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/internal/workflow"
	"github.com/modelkiln/modelkiln/test/builders"
)

// Argo expands no argument of the Workflow, whatever the strings of the
// ModelVersion hold, and even if admission does not check them.
func TestNewPassesNoArgoExpressions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	built := 0
	for range 5000 {
		if checkArguments(t, func() string { return randomText(random) }) {
			built++
		}
	}
	assert.Greater(t, built, 500, "too many ModelVersions are rejected to test anything")
}

func FuzzNew(f *testing.F) {
	for _, seed := range []string{"", "a", "{{workflow.uid}}", "{{=1+1}}", "{", "}}", "$(id)", "a,b=c:d", "\n", "\x00", "é模"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		first := false
		checkArguments(t, func() string {
			first = !first
			if first {
				return one
			}
			return other
		})
	})
}

// checkArguments reports whether a ModelVersion with these strings can be built,
// and fails the test if Argo would expand any of the arguments.
func checkArguments(t *testing.T, text func() string) bool {
	t.Helper()
	w := builders.MakeModelVersion(text(), text()).UID(types.UID(text())).Rebuild(text()).
		Model(text()).CreatedBy(text()).ImageRepo("r"+text()).ImageTag(text()).
		BaseImage(text()).PushSecret(text()).WorkflowTemplate(text()).
		NodeLabel(text(), v1alpha1.NodeLabelValue(text())).
		Toleration(v1alpha1.Toleration{Key: text(), Value: text(), Operator: corev1.TolerationOperator(text()), Effect: corev1.TaintEffect(text())})
	versions := []*v1alpha1.ModelVersion{
		w.Claim(text(), text()).Obj(),
		w.AWSEfs(text()).Obj(),
		w.NFS("a"+text(), "/"+text()).Obj(),
		w.LocalStorage("/"+text(), text()).Obj(),
	}

	built := false
	for _, mv := range versions {
		wf, problem := workflow.New(mv, workflow.Attempt{Number: 1}, config.Default().Options())
		if problem != nil {
			assert.NotEmpty(t, problem.Reason)
			assert.NotEmpty(t, problem.Message)
			continue
		}
		built = true
		for _, parameter := range wf.Spec.Arguments.Parameters {
			assert.NotContains(t, parameter.Value.String(), "{{", parameter.Name)
			assert.NotContains(t, parameter.Value.String(), "}}", parameter.Name)
			assert.NotEmpty(t, parameter.Value.String(), "%s must be omitted to use the default", parameter.Name)
		}
	}
	return built
}

// randomText returns a short string of characters that are special in Argo, a
// shell, JSON or YAML.
func randomText(random *rand.Rand) string {
	alphabet := []rune("{{}}==..$()`'\"\\/:,#% \n\tabz019é模")
	result := make([]rune, random.IntN(6))
	for i := range result {
		result[i] = alphabet[random.IntN(len(alphabet))]
	}
	return string(result)
}

// Every ModelVersion name gives a valid and unique Workflow name, to which argo
// resubmit --memoized can add a suffix.
func TestNewNamesAreValidAndUnique(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	seen := map[string]string{}
	for range 5000 {
		name := randomSubdomain(random)
		require.Empty(t, validation.IsDNS1123Subdomain(name), name)
		mv := builders.MakeModelVersion(name, "default").LocalStorage("/foo", "node-1").Obj()
		wf, problem := workflow.New(mv, workflow.Attempt{Number: random.Int64N(1000) + 1}, config.Default().Options())
		require.Nil(t, problem)

		assert.LessOrEqual(t, len(wf.Name), 57)
		assert.Empty(t, validation.IsDNS1123Subdomain(wf.Name), name)
		assert.Empty(t, validation.IsDNS1123Subdomain(wf.Name+"-x7k2p"), name)
		for key, value := range wf.Labels {
			assert.Empty(t, validation.IsValidLabelValue(value), key)
		}
		if other, found := seen[wf.Name]; found {
			assert.Equal(t, other, name, "both have the Workflow name %s", wf.Name)
		}
		seen[wf.Name] = name
	}
}

// randomSubdomain returns a name that the API server accepts for a ModelVersion.
func randomSubdomain(random *rand.Rand) string {
	const ends, middle = "abcz019", "abcz019--.."
	letters := make([]byte, random.IntN(253)+1)
	for i := range letters {
		letters[i] = middle[random.IntN(len(middle))]
	}
	name := strings.NewReplacer("..", ".a", ".-", ".b", "-.", "c.").Replace(string(letters))
	name = strings.NewReplacer("..", ".a", ".-", ".b", "-.", "c.").Replace(name)
	end := func() string { return string(ends[random.IntN(len(ends))]) }
	return end() + name[1:max(1, len(name)-1)] + strings.Repeat(end(), min(1, len(name)-1))
}
