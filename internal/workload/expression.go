package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/modelkiln/modelkiln/internal/text"
)

const (
	// maxExpression is the number of bytes of an expression.
	maxExpression = 4096
	// maxCost is the cost of an evaluation, in CEL's units: a twentieth of what the API
	// server allows for a rule of an admission policy, which takes some milliseconds.
	maxCost = 50_000
	// maxValues is how many fields and list items a workload may have that an
	// expression is evaluated for. CEL compares two objects at the cost of one step,
	// however large they are.
	maxValues = 5000
)

// An Expression is a CEL expression about a workload. It is compiled when it is
// parsed. Its variables are object, which is the workload, and status, which is the
// workload's status, or an empty object if it has none.
type Expression struct {
	source  string
	program cel.Program
}

// environment returns CEL's environment of all expressions. Optional types allow
// status.?phase.orValue("").
var environment = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.Variable("object", cel.DynType), cel.Variable("status", cel.DynType), cel.OptionalTypes())
})

// NewExpression compiles an expression. It returns an error if it is not valid CEL,
// is too long, or is not a condition.
func NewExpression(source string) (*Expression, error) {
	if len(source) > maxExpression {
		return nil, fmt.Errorf("has %d bytes, and may have %d", len(source), maxExpression)
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	compiled, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, errors.New("is not valid CEL: " + text.Sentence(issues.Err().Error(), maxMessage))
	}
	if kind := compiled.OutputType(); !kind.IsExactType(cel.BoolType) && !kind.IsExactType(cel.DynType) {
		return nil, fmt.Errorf(`has a value of type %s: write a condition, for example status.phase == "Succeeded"`, kind)
	}
	program, err := env.Program(compiled, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("is not valid CEL: %w", err)
	}
	return &Expression{source: source, program: program}, nil
}

// UnmarshalJSON parses and compiles an expression.
func (e *Expression) UnmarshalJSON(raw []byte) error {
	var source string
	if err := json.Unmarshal(raw, &source); err != nil {
		return err
	}
	parsed, err := NewExpression(source)
	if err != nil {
		return fmt.Errorf("the CEL expression %q %w", text.OneLine(source, maxMessage), err)
	}
	*e = *parsed
	return nil
}

// MarshalJSON returns the expression's source.
func (e *Expression) MarshalJSON() ([]byte, error) { return json.Marshal(e.source) }

// holds reports whether an expression is true of a workload. Users write what is
// in a workload, so the time and memory of an evaluation are bounded.
func (e *Expression) holds(object *unstructured.Unstructured) (bool, error) {
	if left := maxValues; !fits(object.Object, &left) {
		return false, fmt.Errorf("is not evaluated: the workload has more than %d fields and list items", maxValues)
	}
	status := statusOf(object)
	if status == nil {
		status = map[string]any{}
	}
	value, _, err := e.program.Eval(map[string]any{"object": object.Object, "status": status})
	if err != nil {
		return false, errors.New("fails: " + text.Sentence(err.Error(), maxMessage))
	}
	result, isBool := value.Value().(bool)
	if !isBool {
		return false, fmt.Errorf("has a value of type %s and not true or false", value.Type().TypeName())
	}
	return result, nil
}

// fits reports whether a value has at most left fields and list items, at any depth,
// and reduces left by their number.
func fits(value any, left *int) bool {
	switch v := value.(type) {
	case map[string]any:
		*left -= len(v)
		for _, child := range v {
			if *left < 0 || !fits(child, left) {
				return false
			}
		}
	case []any:
		*left -= len(v)
		for _, child := range v {
			if *left < 0 || !fits(child, left) {
				return false
			}
		}
	}
	return *left >= 0
}
