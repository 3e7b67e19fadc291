// OPA beside ztfast: the rules in Rego, prepared once and evaluated in process.

package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
)

// opa prepares one query over data that are OPA's own values, so that no decision converts them. One read transaction
// serves all decisions, and inputs are parsed beforehand.
func opa(folder string, orders []order) ([]decide, error) {
	text, err := os.ReadFile(filepath.Join(folder, "data.json"))
	if err != nil {
		return nil, err
	}
	var data map[string]any
	if err := util.UnmarshalJSON(text, &data); err != nil {
		return nil, err
	}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	module, err := os.ReadFile(filepath.Join(folder, "policy.rego"))
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	query, err := rego.New(
		rego.Query("data.trading.allow"), rego.Module("policy.rego", string(module)), rego.Store(store),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	transaction, err := store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return nil, err
	}
	requests := make([]decide, len(orders))
	for i, one := range orders {
		input, err := ast.InterfaceToValue(map[string]any{
			"algo": one.algo, "instrument": one.instrument,
			"notional": json.Number(number(one.notional)), "qty": json.Number(number(one.qty)),
		})
		if err != nil {
			return nil, err
		}
		options := []rego.EvalOption{rego.EvalParsedInput(input), rego.EvalTransaction(transaction)}
		requests[i] = func() bool {
			results, err := query.Eval(ctx, options...)
			return err == nil && results.Allowed()
		}
	}
	return requests, nil
}
