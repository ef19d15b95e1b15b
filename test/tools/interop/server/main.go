// Command server is grpc-go's interop service on a free loopback port, which it
// prints. grpc-go's own command listens on every interface and on a fixed port.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

func main() {
	cert, key := flag.String("cert", "", "certificate file; cleartext without one"), flag.String("key", "", "key file")
	flag.Parse()
	log.Fatal(serve(*cert, *key))
}

func serve(cert, key string) error {
	var options []grpc.ServerOption
	if cert != "" {
		c, err := credentials.NewServerTLSFromFile(cert, key)
		if err != nil {
			return err
		}
		options = append(options, grpc.Creds(c))
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	s := grpc.NewServer(options...)
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	return s.Serve(ln)
}
