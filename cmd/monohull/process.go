package main

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"time"
)

// processStart is when the kernel started this process: what a user waits for
// begins before main does.
func processStart() time.Time {
	now := time.Now()
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return now
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return now
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return now
	}
	ticks, err := strconv.ParseInt(string(fields[19]), 10, 64)
	if err != nil {
		return now
	}
	up, err := strconv.ParseFloat(string(bytes.Fields(uptime)[0]), 64)
	if err != nil {
		return now
	}
	const ticksPerSecond = 100 // USER_HZ, a constant of the kernel's interface
	age := time.Duration((up - float64(ticks)/ticksPerSecond) * float64(time.Second))
	return now.Add(-max(age, 0))
}

// notifySystemd tells a supervising systemd that the server is up.
func notifySystemd() {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if c, err := net.Dial("unixgram", path); err == nil {
		defer c.Close()
		_, _ = c.Write([]byte("READY=1"))
	}
}
