package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/monohull/monohull/internal/host/netns"
	"golang.org/x/sys/unix"
)

// sendBufferBytes is the largest transaction a Conn takes. A batch is one datagram to the kernel.
const sendBufferBytes = 16 << 20

// errorsReported bounds how many of a failed transaction's errors are told.
const errorsReported = 3

// Conn is a netlink socket for transactions in one network namespace.
type Conn struct {
	mu sync.Mutex // one transaction at a time: replies belong to the last one sent
	fd int
}

// Dial opens a socket in the network namespace at path; an empty path is the process's own.
func Dial(netnsPath string) (*Conn, error) {
	c := &Conn{fd: -1}
	err := netns.Do(netnsPath, func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return fmt.Errorf("open nftables socket: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			unix.Close(fd)
			return fmt.Errorf("bind nftables socket: %w", err)
		}
		// FORCE needs CAP_NET_ADMIN in the first user namespace; without it the system's own limit has to do.
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBufferBytes) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBufferBytes)
		}
		c.fd = fd
		return nil
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}

// Apply commits a batch. Either all of it is in the kernel when it returns nil, or none of it is.
func (c *Conn) Apply(b *Batch) error {
	if b.err != nil {
		return fmt.Errorf("encode nftables transaction: %w", b.err)
	}
	if b.Len() == 0 {
		return nil
	}
	b.message(unix.NFNL_MSG_BATCH_END, 0, "commit", func() {})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return errors.New("nftables socket is closed")
	}
	c.drain(nil)
	for {
		err := unix.Sendto(c.fd, b.buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("send nftables transaction of %d bytes: %w", len(b.buf), err)
		}
		break
	}
	return c.drain(b)
}

// drain reads what the kernel queued during the send: nothing, or errors.
func (c *Conn) drain(b *Batch) error {
	buf := make([]byte, 64<<10)
	var errs []error
	for {
		n, _, err := unix.Recvfrom(c.fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return errors.Join(errs...)
		case err == unix.ENOBUFS:
			// Only errors are queued, so an overrun queue means a failed transaction.
			errs = append(errs, fmt.Errorf("nftables transaction: %w", err))
			continue
		case err != nil:
			return errors.Join(append(errs, fmt.Errorf("read nftables reply: %w", err))...)
		}
		for msg := buf[:n]; len(msg) >= 20; {
			size := int(binary.NativeEndian.Uint32(msg))
			if size < 20 || size > len(msg) {
				break
			}
			kind := binary.NativeEndian.Uint16(msg[4:])
			seq := binary.NativeEndian.Uint32(msg[8:])
			code := int32(binary.NativeEndian.Uint32(msg[16:]))
			if kind == unix.NLMSG_ERROR && code != 0 && b != nil && len(errs) < errorsReported {
				what := "transaction"
				if int(seq) < len(b.what) {
					what = b.what[seq]
				}
				errs = append(errs, fmt.Errorf("nftables: %s in table %s: %w", what, b.Table, unix.Errno(-code)))
			}
			msg = msg[min(len(msg), (size+3)&^3):]
		}
	}
}
