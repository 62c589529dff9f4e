package argo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"
)

const (
	versionsDir = "../../internal/lifecycle/testdata/modelversions"
	healthKey   = "resource.customizations.health.model.kubedl.io_ModelVersion"
)

// kubeDLHealth is the health of KubeDL's ModelVersions, which have no conditions
// that kstatus could evaluate.
var kubeDLHealth = map[string]string{"kubedl-succeeded": "Healthy", "kubedl-failed": "Degraded"}

// Argo CD's health agrees with kstatus, on which kubectl wait and Flux rely.
func TestArgoCDHealthAgreesWithKstatus(t *testing.T) {
	healthOf := map[status.Status]string{
		status.InProgressStatus: "Progressing",
		status.FailedStatus:     "Degraded",
		status.CurrentStatus:    "Healthy",
	}
	for name, version := range goldenVersions(t) {
		t.Run(name, func(t *testing.T) {
			want, isKubeDL := kubeDLHealth[name]
			if !isKubeDL {
				computed, err := status.Compute(&unstructured.Unstructured{Object: version})
				require.NoError(t, err)
				want = healthOf[computed.Status]
				require.NotEmpty(t, want, computed.Status)
			}
			got, message := health(t, version)
			assert.Equal(t, want, got)
			assert.Equal(t, version["status"].(map[string]any)["message"], message)
		})
	}
}

func TestArgoCDHealthIsProgressing(t *testing.T) {
	versions := goldenVersions(t)
	ready, failed := versions["ready"], versions["failed"]
	for name, version := range map[string]map[string]any{
		"without a status":                 with(ready, nil, "status"),
		"with an empty status":             with(ready, map[string]any{}, "status"),
		"with an unfinished KubeDL build":  with(ready, map[string]any{"imageBuildPhase": "ImageBuilding"}, "status"),
		"Ready for an earlier generation":  with(ready, int64(2), "metadata", "generation"),
		"failed for an earlier generation": with(failed, int64(2), "metadata", "generation"),
		"without conditions":               with(ready, []any{}, "status", "conditions"),
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := health(t, version)
			assert.Equal(t, "Progressing", got)
		})
	}
}

// with returns a copy of an object with one field set, or removed if the value
// is nil.
func with(object map[string]any, value any, path ...string) map[string]any {
	changed := (&unstructured.Unstructured{Object: object}).DeepCopy().Object
	if value == nil {
		unstructured.RemoveNestedField(changed, path...)
		return changed
	}
	if err := unstructured.SetNestedField(changed, value, path...); err != nil {
		panic(err)
	}
	return changed
}

// goldenVersions returns the operator's golden ModelVersions by name, one for
// each kind of status.
func goldenVersions(t *testing.T) map[string]map[string]any {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(versionsDir, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	versions := map[string]map[string]any{}
	for _, file := range files {
		versions[strings.TrimSuffix(filepath.Base(file), ".yaml")] = read(t, file)
	}
	return versions
}

// read reads a YAML file as an unstructured object, with integers as int64.
func read(t *testing.T, file string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	asJSON, err := yaml.YAMLToJSON(raw)
	require.NoError(t, err)
	var content map[string]any
	require.NoError(t, json.Unmarshal(asJSON, &content))
	return content
}

// health runs the health check in deploy/ like Argo CD: the object is the global
// variable obj, and the script returns a table. Of the Lua libraries that Argo CD
// opens, it opens only the base library.
func health(t *testing.T, version map[string]any) (healthStatus, message string) {
	t.Helper()
	var settings corev1.ConfigMap
	unmarshal(t, "../../deploy/argocd/argocd-cm.yaml", &settings)
	require.Contains(t, settings.Data, healthKey)

	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	require.NoError(t, state.CallByParam(lua.P{Fn: state.NewFunction(lua.OpenBase), Protect: true}, lua.LString(lua.BaseLibName)))
	state.SetGlobal("obj", luaValue(t, state, version))
	require.NoError(t, state.DoString(settings.Data[healthKey]))

	result, isTable := state.Get(-1).(*lua.LTable)
	require.True(t, isTable, "the script returns a table")
	return string(result.RawGetString("status").(lua.LString)), string(result.RawGetString("message").(lua.LString))
}

// luaValue converts a value of an unstructured object to Lua.
func luaValue(t *testing.T, state *lua.LState, value any) lua.LValue {
	t.Helper()
	switch v := value.(type) {
	case nil:
		return lua.LNil
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	case []any:
		list := state.NewTable()
		for _, each := range v {
			list.Append(luaValue(t, state, each))
		}
		return list
	case map[string]any:
		table := state.NewTable()
		for key, each := range v {
			table.RawSetString(key, luaValue(t, state, each))
		}
		return table
	}
	require.Failf(t, "unexpected type in an object", "%T", value)
	return nil
}
