// The peers in Go: `ztfast-peers-go PEER FOLDER`, where the folder is what the generator wrote for one size.
//
// It speaks the JSON lines of all programs of this benchmark; see serve.go.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
)

// decide answers one request, which was converted beforehand to the form that the peer reads.
type decide func() bool

// peers maps each peer to its module, for the version, and to the function that prepares a decision for each order.
var peers = map[string]struct {
	module string
	setUp  func(folder string, orders []order) ([]decide, error)
}{
	"opa":       {"github.com/open-policy-agent/opa", opa},
	"cedar-go":  {"github.com/cedar-policy/cedar-go", cedarGo},
	"casbin-go": {"github.com/casbin/casbin/v3", casbinGo},
}

// order is a row of requests.json: algorithm, instrument, notional, quantity.
type order struct {
	algo, instrument string
	notional, qty    int64
}

func (o *order) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&o.algo, &o.instrument, &o.notional, &o.qty})
}

// moreGarbage is the value for SetGCPercent. All peers in Go allocate on each decision, and there is enough memory.
const moreGarbage = 800

func run(name, folder string) error {
	debug.SetGCPercent(moreGarbage)
	peer, known := peers[name]
	if !known {
		return fmt.Errorf("no such peer in Go")
	}
	var orders []order
	if err := read(folder, "requests.json", &orders); err != nil {
		return err
	}
	requests, err := peer.setUp(folder, orders)
	if err != nil {
		return err
	}
	return serve(version(peer.module), requests)
}

// read parses one of the generator's JSON files.
func read(folder, name string, into any) error {
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// version returns the version of a module that this program was built with.
func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return dependency.Version
			}
		}
	}
	return ""
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: ztfast-peers-go PEER FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}
