package main

import (
	"context"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

type expressions struct {
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

// The order is Flux's (RFC 0009): a generation that the status does not speak of, then inProgress, failed and current;
// where none of them holds, it is in progress. An expression that cannot be evaluated leaves the status unknown, and Flux
// looks again.
func flux(checks expressions, object map[string]any) (verdict, error) {
	unknown := verdict{Status: "Unknown"}
	if checks.Current == "" {
		return unknown, fmt.Errorf("the expression current is missing")
	}
	if behind(object) {
		return verdict{Status: "InProgress"}, nil
	}
	for _, check := range []struct{ status, expression string }{
		{"InProgress", checks.InProgress},
		{"Failed", checks.Failed},
		{"Current", checks.Current},
	} {
		if check.expression == "" {
			continue
		}
		holds, err := holds(check.expression, object)
		if err != nil {
			return unknown, fmt.Errorf("%s: %w", check.status, err)
		}
		if holds {
			return verdict{Status: check.status}, nil
		}
	}
	return verdict{Status: "InProgress"}, nil
}

func behind(object map[string]any) bool {
	status, _ := object["status"].(map[string]any)
	metadata, _ := object["metadata"].(map[string]any)
	observed, told := status["observedGeneration"].(int64)
	generation, known := metadata["generation"].(int64)
	return told && known && observed != generation
}

// The environment is that of fluxcd/pkg/runtime/cel. An expression is parsed and not checked, because no type is declared
// for the object; its fields are the variables, so one that it does not have cannot even be asked for with has().
func holds(expression string, object map[string]any) (bool, error) {
	environment, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(),
		cel.EagerlyValidateDeclarations(true),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		ext.Strings(),
		ext.Sets(),
		ext.Encoders(),
	)
	if err != nil {
		return false, err
	}
	parsed, issues := environment.Parse(expression)
	if issues.Err() != nil {
		return false, issues.Err()
	}
	program, err := environment.Program(parsed, cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(100))
	if err != nil {
		return false, err
	}
	value, _, err := program.ContextEval(context.Background(), object)
	if err != nil {
		return false, err
	}
	result, isBool := value.(types.Bool)
	if !isBool {
		return false, fmt.Errorf("it is no boolean, but %s", value.Type().TypeName())
	}
	return bool(result), nil
}
