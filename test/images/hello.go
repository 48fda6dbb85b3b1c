package main

import (
	_ "embed"
)

//go:embed hello/hello.c
var helloSource []byte

// hello compiles the sample application.
func hello(work string) (*image, error) {
	binary, err := compile(work, "hello", helloSource)
	if err != nil {
		return nil, err
	}
	img := newImage("monohull.io/hello:1.0")
	img.text("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nhello:x:65532:65532:hello:/:/sbin/nologin\n")
	img.text("/etc/group", "root:x:0:\nhello:x:65532:\n")
	if err := img.copy("/hello", binary); err != nil {
		return nil, err
	}
	img.config["Entrypoint"] = []string{"/hello"}
	img.config["User"] = "65532:65532"
	img.config["WorkingDir"] = "/"
	img.config["ExposedPorts"] = map[string]any{"8080/tcp": map[string]any{}}
	return img, nil
}
