//go:build !linux

package listen

import "net"

// keepAlive has clients that are silent asked whether they are still there.
func keepAlive(config *net.ListenConfig) {
	config.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveEvery, Count: keepAliveCount}
}
