// cedar-go beside ztfast: the same Cedar policies, decided by the implementation in Go.

package main

import (
	"os"
	"path/filepath"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// cedarGo parses policies, entities and requests beforehand; each decision goes through Authorize.
func cedarGo(folder string, orders []order) ([]decide, error) {
	text, err := os.ReadFile(filepath.Join(folder, "policies.cedar"))
	if err != nil {
		return nil, err
	}
	policies, err := cedar.NewPolicySetFromBytes("policies.cedar", text)
	if err != nil {
		return nil, err
	}
	var entities types.EntityMap
	if err := read(folder, "entities.json", &entities); err != nil {
		return nil, err
	}
	requests := make([]decide, len(orders))
	for i, one := range orders {
		request := cedar.Request{
			Principal: cedar.NewEntityUID("Algo", cedar.String(one.algo)),
			Action:    cedar.NewEntityUID("Action", "order.new"),
			Resource:  cedar.NewEntityUID("Instrument", cedar.String(one.instrument)),
			Context:   cedar.NewRecord(cedar.RecordMap{"notional": cedar.Long(one.notional), "qty": cedar.Long(one.qty)}),
		}
		requests[i] = func() bool {
			decision, _ := cedar.Authorize(policies, entities, request)
			return decision == cedar.Allow
		}
	}
	return requests, nil
}
