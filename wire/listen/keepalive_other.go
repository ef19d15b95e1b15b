//go:build !linux

package listen

import "net"

// prepare has clients that are silent asked whether they are still there.
func prepare(config *net.ListenConfig, _ bool) {
	config.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: keepAliveCount}
}
