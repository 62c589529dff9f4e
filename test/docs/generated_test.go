package docs

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/config"
	"github.com/modelkiln/modelkiln/test/golden"
)

func parseFile(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
	require.NoError(t, err)
	return file
}

// oneLine returns the text of a doc comment as a cell of a table.
func oneLine(doc *ast.CommentGroup) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(doc.Text()), " "), "|", "\\|")
}

// description returns a doc comment without the name that it starts with, and
// without the verb after it if that is one of verbs.
func description(doc *ast.CommentGroup, name string, verbs ...string) string {
	text := strings.TrimPrefix(oneLine(doc), name+" ")
	for _, verb := range verbs {
		if rest, found := strings.CutPrefix(text, verb+" "); found {
			text = rest
			break
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}

// conditionsHead is the part of conditions.md that is not generated from
// conditions.go.
const conditionsHead = `# Conditions

<!-- Generated from api/v1alpha1/conditions.go: go test ./test/docs -update -->

The conditions of a ModelVersion follow kstatus, so that ` + "`kubectl wait`" + `, Flux and, with [a health check](../../deploy/README.md#argo-cd), Argo CD understand them. [TROUBLESHOOTING.md](../../TROUBLESHOOTING.md) has the commands to fix problems.
`

func TestConditions(t *testing.T) {
	var b strings.Builder
	b.WriteString(conditionsHead)
	var reasons []string
	for _, decl := range parseFile(t, root+"/api/v1alpha1/conditions.go").Decls {
		group, isConst := decl.(*ast.GenDecl)
		if !isConst || group.Tok != token.CONST {
			continue
		}
		title, rest, _ := strings.Cut(oneLine(group.Doc), ". ")
		fmt.Fprintf(&b, "\n## %s\n\n", strings.TrimSuffix(title, "."))
		if rest != "" {
			b.WriteString(rest + "\n\n")
		}
		column := "condition"
		if strings.HasPrefix(title, "Reasons") {
			column = "reason"
		}
		fmt.Fprintf(&b, "| %s | meaning |\n|---|---|\n", column)
		for _, spec := range group.Specs {
			constant := spec.(*ast.ValueSpec)
			value, err := strconv.Unquote(constant.Values[0].(*ast.BasicLit).Value)
			require.NoError(t, err)
			fmt.Fprintf(&b, "| `%s` | %s |\n", value, description(constant.Doc, constant.Names[0].Name, "means that", "is"))
			if column == "reason" {
				reasons = append(reasons, value)
			}
		}
	}
	assert.Equal(t, v1alpha1.Reasons, reasons, "v1alpha1.Reasons has to list all reasons")
	golden.Assert(t, root+"/api/docs/conditions.md", b.String())
}

func TestConfiguration(t *testing.T) {
	defaults := map[string]json.RawMessage{}
	raw, err := json.Marshal(config.Default())
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &defaults))

	var b strings.Builder
	b.WriteString("| field | default | description |\n|---|---|---|\n")
	structs := configStructs(t)
	for _, field := range structs["Config"] {
		name := jsonName(t, field)
		preset := ""
		if value := string(defaults[name]); value != "" && value != `"0"` {
			preset = "`" + strings.Trim(value, `"`) + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, preset, description(field.Doc, name, "is", "are"))
		element, prefix := field.Type, name+"."
		if list, isList := element.(*ast.ArrayType); isList {
			element, prefix = list.Elt, name+"[]."
		}
		if of, isLocal := element.(*ast.Ident); isLocal {
			for _, nested := range structs[of.Name] {
				name := jsonName(t, nested)
				fmt.Fprintf(&b, "| `%s` |  | %s |\n", prefix+name, description(nested.Doc, name, "is", "are"))
			}
		}
	}
	golden.AssertSection(t, root+"/deploy/README.md",
		"<!-- begin configuration: go test ./test/docs -update -->", "<!-- end configuration -->", b.String())
}

// jsonName returns the name of a field in YAML.
func jsonName(t *testing.T, field *ast.Field) string {
	t.Helper()
	tag, err := strconv.Unquote(field.Tag.Value)
	require.NoError(t, err)
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	return name
}

// configStructs returns the fields of the structs of the configuration, as they are in
// the source.
func configStructs(t *testing.T) map[string][]*ast.Field {
	t.Helper()
	structs := map[string][]*ast.Field{}
	for _, file := range []string{"config.go", "build_pods.go"} {
		ast.Inspect(parseFile(t, root+"/internal/config/"+file), func(n ast.Node) bool {
			if spec, isType := n.(*ast.TypeSpec); isType {
				if fields, isStruct := spec.Type.(*ast.StructType); isStruct {
					structs[spec.Name.Name] = fields.Fields.List
				}
			}
			return true
		})
	}
	require.NotEmpty(t, structs["Config"])
	return structs
}
