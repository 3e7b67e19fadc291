// casbin beside ztfast: its model and rules, asked with the attributes of an order.

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/casbin/casbin/v3"
)

// casbinGo loads model and rules once. Attributes are separate arguments, which casbin reads faster than fields of
// objects. A rule's limits are parsed only if desk and book match.
func casbinGo(folder string, orders []order) ([]decide, error) {
	enforcer, err := casbin.NewEnforcer(filepath.Join(folder, "casbin.conf"), filepath.Join(folder, "casbin.csv"))
	if err != nil {
		return nil, err
	}
	enforcer.AddFunction("within", within)
	var tables struct{ Algos, Instruments [][]json.RawMessage }
	if err := read(folder, "tables.json", &tables); err != nil {
		return nil, err
	}
	algos, instruments := map[string][]json.RawMessage{}, map[string][]json.RawMessage{}
	for _, row := range tables.Algos {
		algos[text(row[0])] = row
	}
	for _, row := range tables.Instruments {
		instruments[text(row[0])] = row
	}
	requests := make([]decide, len(orders))
	for i, one := range orders {
		algo, instrument := algos[one.algo], instruments[one.instrument]
		var dark bool
		if err := json.Unmarshal(instrument[4], &dark); err != nil {
			return nil, err
		}
		// desk, strategy, region, venues, book, listed, venue, dark, lists, notional, qty
		values := []any{
			text(algo[2]), text(algo[1]), text(algo[3]), texts(algo[4]),
			text(instrument[1]), text(instrument[2]), text(instrument[3]), dark, texts(instrument[5]),
			float64(one.notional), float64(one.qty),
		}
		requests[i] = func() bool {
			allowed, err := enforcer.Enforce(values...)
			return err == nil && allowed
		}
	}
	return requests, nil
}

// within reports whether notional and quantity are within a rule's limits, which are texts.
func within(arguments ...any) (any, error) {
	for i := range 2 {
		value, isNumber := arguments[i].(float64)
		limit, isText := arguments[i+2].(string)
		if !isNumber || !isText {
			return nil, fmt.Errorf("within: wanted (notional, qty, limit, limit), got %v", arguments)
		}
		most, err := strconv.ParseInt(limit, 10, 64)
		if err != nil {
			return nil, err
		}
		if value > float64(most) {
			return false, nil
		}
	}
	return true, nil
}

func number(value int64) string {
	return strconv.FormatInt(value, 10)
}

// text returns a JSON text of the generator's tables.
func text(raw json.RawMessage) string {
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		panic(err)
	}
	return value
}

// texts returns a list of JSON texts, as casbin's `in` reads it.
func texts(raw json.RawMessage) []any {
	var values []any
	if err := json.Unmarshal(raw, &values); err != nil {
		panic(err)
	}
	return values
}
