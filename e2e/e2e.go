// Package e2e tries the real binary with real parts around it: servers, TLS, DNS,
// files that change, signals. It sees what a client and an operator see, and no
// package of the gateway. Every case is judged by the record that the request left
// in the access log: which stage, which reason, which status.
package e2e
