package report_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/internal/report"
)

// full is a report in which every field is set.
func full() report.Report {
	return report.Report{
		Run:     report.Run{WorkflowUID: "w", ModelVersionUID: "m", Image: "modelhub/resnet:v1c072"},
		Source:  &report.Source{Files: 7, Bytes: 1 << 40, Layers: 2, Skipped: 1, AlreadyPushed: true},
		Build:   &report.Build{Layers: []report.BuiltLayer{{DiffID: "sha256:1", Files: 3, Bytes: 4}}},
		Image:   &report.Image{Reference: "modelhub/resnet:v1c072", Digest: "sha256:2", Bytes: 5, Layers: 3},
		Failure: &report.Failure{Step: "build", Reason: "BuildFailed", Message: "it said \"no\"\n<&>\u2028é模"},
	}
}

func TestAReportComesBackAsItWas(t *testing.T) {
	for name, want := range map[string]report.Report{
		"a full one":   full(),
		"an empty one": {},
		"the first step's": {
			Run:    report.Run{WorkflowUID: "w", Image: "modelhub/resnet:v1c072"},
			Source: &report.Source{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			require.NoError(t, report.Write(folder, want))
			got, err := report.Read(folder)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// The workflow puts the file out as it is, and the operator parses that.
func TestTheFileIsTheOutput(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, report.Write(folder, full()))
	raw, err := os.ReadFile(filepath.Join(folder, report.FileName))
	require.NoError(t, err)
	got, err := report.Parse(string(raw))
	require.NoError(t, err)
	assert.Equal(t, full(), got)
}

// A part that a step did not reach is absent, so that an old operator and a
// new step, or the other way round, agree on what is there.
func TestPartsThatAreNotThereAreNotWritten(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, report.Write(folder, report.Report{Run: report.Run{WorkflowUID: "w", Image: "i"}}))
	raw, err := os.ReadFile(filepath.Join(folder, report.FileName))
	require.NoError(t, err)
	assert.JSONEq(t, `{"run":{"workflowUID":"w","image":"i"}}`, string(raw))
}

func TestAReportThatDoesNotExistYetIsAnEmptyOne(t *testing.T) {
	got, err := report.Read(t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, report.Report{}, got)
}

func TestWhatIsNoReportIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"one cut short":      `{"run":{"workflowUID":"w"`,
		"another document":   "hello",
		"numbers as strings": `{"source":{"files":"7"}}`,
		"two of them":        `{}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := report.Parse(text)
			require.ErrorContains(t, err, "parse report")

			folder := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(folder, report.FileName), []byte(text), 0o644))
			_, err = report.Read(folder)
			require.ErrorContains(t, err, "parse report")
		})
	}
}

// A later release's steps may say more.
func TestAFieldThatIsNotKnownIsPassedOver(t *testing.T) {
	got, err := report.Parse(`{"run":{"workflowUID":"w","image":"i","colour":"blue"},"weather":{}}`)
	require.NoError(t, err)
	assert.Equal(t, "w", got.Run.WorkflowUID)
}

func TestAReportThatCannotBeReadIsAnError(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(folder, report.FileName), 0o755))
	_, err := report.Read(folder)
	require.ErrorContains(t, err, "read report")
}

// Steps run as different users: the next one replaces what the last one wrote
// by a rename, which asks for rights on the folder only, and everyone can read
// the result. The rest of a step that was killed is no hindrance.
func TestAnotherUsersReportIsReplaced(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, report.Write(folder, full()))
	file := filepath.Join(folder, report.FileName)
	before, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(file, 0o400))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "."+report.FileName), []byte("killed"), 0o400))

	require.NoError(t, report.Write(folder, report.Report{Run: report.Run{WorkflowUID: "w"}}))

	got, err := report.Read(folder)
	require.NoError(t, err)
	assert.Equal(t, report.Report{Run: report.Run{WorkflowUID: "w"}}, got)
	after, err := os.Stat(file)
	require.NoError(t, err)
	assert.False(t, os.SameFile(before, after), "it is another file, and not the other user's")
	assert.Equal(t, os.FileMode(0o444), after.Mode().Perm()&0o444, "everyone can read it")
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing else is left")
}

func TestAReportThatCannotBeWrittenLeavesTheLastOne(t *testing.T) {
	require.ErrorContains(t, report.Write(filepath.Join(t.TempDir(), "none"), full()), "write report")

	folder := t.TempDir()
	require.NoError(t, report.Write(folder, full()))
	// A folder that is not empty where the file must go.
	file := filepath.Join(folder, report.FileName)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.MkdirAll(filepath.Join(file, "in-the-way"), 0o755))
	require.ErrorContains(t, report.Write(folder, full()), "write report")
}

// Argo keeps outputs in the Workflow itself, whose size is bounded.
func TestAReportIsSmall(t *testing.T) {
	r := full()
	for range 100 {
		r.Build.Layers = append(r.Build.Layers, report.BuiltLayer{DiffID: "sha256:" + strings.Repeat("a", 64), Files: 1 << 30, Bytes: 1 << 50})
	}
	folder := t.TempDir()
	require.NoError(t, report.Write(folder, r))
	info, err := os.Stat(filepath.Join(folder, report.FileName))
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(32<<10))
}
