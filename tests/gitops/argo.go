package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"
	luajson "layeh.com/gopher-json"
)

// The libraries that Argo CD opens for a script of argocd-cm (util/lua/lua.go): neither string nor math. Its os has only
// time and date; a health check has no use for these, so here there is none.
var libraries = map[string]lua.LGFunction{
	lua.LoadLibName: lua.OpenPackage,
	lua.BaseLibName: lua.OpenBase,
	lua.TabLibName:  lua.OpenTable,
}

// How long a script may take.
const longest = time.Second

func argo(script string, object map[string]any) (verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, name := range []string{lua.LoadLibName, lua.BaseLibName, lua.TabLibName} {
		open := lua.P{Fn: state.NewFunction(libraries[name]), Protect: true}
		if err := state.CallByParam(open, lua.LString(name)); err != nil {
			return verdict{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("actionParams", state.NewTable())
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return verdict{}, err
	}
	returned := state.Get(-1)
	if returned.Type() != lua.LTTable {
		return verdict{}, fmt.Errorf("the script returned no table, but %s", returned.Type())
	}
	text, err := luajson.Encode(returned)
	if err != nil {
		return verdict{}, err
	}
	var health struct{ Status, Message string }
	if err := json.Unmarshal(text, &health); err != nil {
		return verdict{}, err
	}
	switch health.Status {
	case "Unknown", "Progressing", "Suspended", "Healthy", "Degraded", "Missing":
		return verdict{Status: health.Status, Message: health.Message}, nil
	}
	return verdict{Status: "Unknown"}, fmt.Errorf("the script returned the status %q", health.Status)
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch of := value.(type) {
	case bool:
		return lua.LBool(of)
	case int64:
		return lua.LNumber(of)
	case float64:
		return lua.LNumber(of)
	case string:
		return lua.LString(of)
	case []any:
		list := state.CreateTable(len(of), 0)
		for _, item := range of {
			list.Append(toLua(state, item))
		}
		return list
	case map[string]any:
		table := state.CreateTable(0, len(of))
		for key, item := range of {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	}
	return lua.LNil
}
