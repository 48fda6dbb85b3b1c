// Package protocol is the contract between the runtime and the pod shim.
//
// One shim serves one sandbox on the unix socket "shim.sock" in the sandbox's
// directory. The runtime binds and listens on that socket itself and hands the
// listener to the shim as file descriptor 3, so that a connection succeeds from
// the first instant. A restarted runtime finds the socket by its path.
//
// # Frames
//
// A frame is four bytes of length, big endian, and that many bytes of JSON. File
// descriptors travel as SCM_RIGHTS beside the first byte of the frame that names
// them. A frame is at most MaxFrame bytes and carries at most MaxFDs descriptors.
//
// # Conversations
//
// The client sends one Request; the shim answers with one Response, or one with
// Error set. Short operations may follow each other on one connection. Three
// operations own their connection from then on:
//
//   - exec: the first Response tells the pid (and carries the pty master as a
//     descriptor if a terminal was asked for), the second one the Exit. A client
//     that closes the connection before the exit kills the process.
//   - attach: the first Response says that the streams are connected, the second
//     one is sent when the container has ended. The client may send resize
//     requests in between and detaches by closing the connection.
//   - subscribe: the first Response carries the State, every further one an Event.
//     No event between the state and the first event is lost. A subscriber that
//     falls more than MaxPendingEvents behind is cut off and subscribes anew.
//
// # Disk
//
// The shim writes, before it announces the exit of a container, the file
// ExitFile into the container's directory: the JSON of Exit, through a temporary
// file and a rename. Whoever finds no shim and no exit file knows that the machine
// or the shim died first.
//
// The same file is compiled into the runtime and into the shim, which are
// different modules; a test in the runtime holds the two copies equal.
package protocol

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Names of files in a sandbox's and a container's directory.
const (
	SocketFile = "shim.sock"   // sandbox: the shim's socket
	LogFile    = "shim.log"    // sandbox: what the shim itself has to say
	SpecFile   = "config.json" // container: the OCI runtime spec
	ExitFile   = "exit.json"   // container: how it ended
	StateDir   = "state"       // sandbox: libcontainer's own state
)

// Bounds.
const (
	MaxFrame         = 4 << 20
	MaxFDs           = 3
	MaxPendingEvents = 256
)

// Op names an operation.
type Op string

const (
	OpState     Op = "state"
	OpStart     Op = "start"
	OpKill      Op = "kill"
	OpExec      Op = "exec"
	OpAttach    Op = "attach"
	OpResize    Op = "resize"
	OpUpdate    Op = "update"
	OpReopenLog Op = "reopenLog"
	OpDelete    Op = "delete"
	OpSubscribe Op = "subscribe"
	OpShutdown  Op = "shutdown"
)

// Request is what a client asks; the fields beside Op and ID belong to the operation.
type Request struct {
	Op Op     `json:"op"`
	ID string `json:"id,omitempty"` // container

	Start  *Start  `json:"start,omitempty"`
	Exec   *Exec   `json:"exec,omitempty"`
	Attach *Attach `json:"attach,omitempty"`
	Size   *Size   `json:"size,omitempty"`

	Signal int  `json:"signal,omitempty"` // kill
	All    bool `json:"all,omitempty"`    // kill: every process in the container's cgroup

	Resources json.RawMessage `json:"resources,omitempty"` // update: OCI LinuxResources
}

// Start creates and starts a container whose spec lies in Dir.
type Start struct {
	Dir       string `json:"dir"`
	LogPath   string `json:"logPath,omitempty"` // empty: output goes to attached clients only
	Stdin     bool   `json:"stdin,omitempty"`
	StdinOnce bool   `json:"stdinOnce,omitempty"`
	// Pause marks the sandbox's own init, which is no container in the CRI's eyes:
	// no log, no events.
	Pause bool `json:"pause,omitempty"`
}

// Exec runs a further process. The request carries its descriptors in the order
// stdin, stdout, stderr, as far as they are set here; with a terminal, none.
type Exec struct {
	Process json.RawMessage `json:"process"` // OCI Process
	Stdin   bool            `json:"stdin,omitempty"`
	Stdout  bool            `json:"stdout,omitempty"`
	Stderr  bool            `json:"stderr,omitempty"`
}

// Attach joins the container's streams; descriptors as for Exec. With a terminal
// stderr stays empty.
type Attach struct {
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
}

// Size is the size of a terminal in characters.
type Size struct {
	Width  uint16 `json:"width"`
	Height uint16 `json:"height"`
}

// Response answers a request or continues a conversation.
type Response struct {
	Error *Error `json:"error,omitempty"`
	Pid   int    `json:"pid,omitempty"`
	// Warnings are things the kernel refused and the container runs without.
	Warnings []string `json:"warnings,omitempty"`
	State    *State   `json:"state,omitempty"`
	Event    *Event   `json:"event,omitempty"`
	Exit     *Exit    `json:"exit,omitempty"`
}

// State is all that a shim holds.
type State struct {
	Pid        int              `json:"pid"`
	Containers []ContainerState `json:"containers,omitempty"`
}

// Container status words.
const (
	StatusRunning = "running"
	StatusExited  = "exited"
)

// ContainerState is one container as its parent sees it.
type ContainerState struct {
	ID        string    `json:"id"`
	Pid       int       `json:"pid"`
	Status    string    `json:"status"`
	StartedAt time.Time `json:"startedAt"`
	Pause     bool      `json:"pause,omitempty"`
	Exit      *Exit     `json:"exit,omitempty"`
}

// Event types.
const (
	EventStarted = "started"
	EventExited  = "exited"
)

// Event is a change of one container.
type Event struct {
	Type  string `json:"type"`
	ID    string `json:"id"`
	Pid   int    `json:"pid,omitempty"`
	Pause bool   `json:"pause,omitempty"`
	Exit  *Exit  `json:"exit,omitempty"`
}

// Exit tells how a process ended. Code is 128 plus the signal for a process that
// a signal ended, as a shell counts.
type Exit struct {
	Code       int       `json:"code"`
	Signal     int       `json:"signal,omitempty"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
	// Reason and Message are set for a container that never started.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// Code classifies an error by what the caller can do about it.
type Code string

const (
	CodeNotFound   Code = "notFound"   // no such container here
	CodeExists     Code = "exists"     // that id is taken
	CodeNotRunning Code = "notRunning" // the process is gone
	CodeRunning    Code = "running"    // refused while something runs
	CodeInvalid    Code = "invalid"    // the request makes no sense
	CodeFailed     Code = "failed"     // tried, and it went wrong
)

// Error is a refusal, with its class.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the class of an error, CodeFailed for one without.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeFailed
}

// Write sends one frame with the descriptors of files.
func Write(conn *net.UnixConn, v any, files ...*os.File) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	if len(body) > MaxFrame {
		return fmt.Errorf("frame of %d bytes is over the limit of %d", len(body), MaxFrame)
	}
	if len(files) > MaxFDs {
		return fmt.Errorf("%d descriptors are over the limit of %d", len(files), MaxFDs)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	frame = append(frame, body...)
	if len(files) == 0 {
		_, err = conn.Write(frame)
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	n, _, err := conn.WriteMsgUnix(frame, syscall.UnixRights(fds...), nil)
	if err != nil {
		return err
	}
	if n < len(frame) {
		_, err = conn.Write(frame[n:])
	}
	return err
}

// Read receives one frame into v and returns the descriptors that came with it,
// which are the caller's to close. It returns io.EOF at a clean end.
func Read(conn *net.UnixConn, v any) ([]*os.File, error) {
	head := make([]byte, 4)
	oob := make([]byte, syscall.CmsgSpace(MaxFDs*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(head, oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := parseRights(oob[:oobn])
	if err != nil {
		return nil, err
	}
	fail := func(err error) ([]*os.File, error) {
		CloseAll(files)
		return nil, err
	}
	if n < 4 {
		if _, err := io.ReadFull(conn, head[n:]); err != nil {
			return fail(err)
		}
	}
	length := binary.BigEndian.Uint32(head)
	if length > MaxFrame {
		return fail(fmt.Errorf("frame of %d bytes is over the limit of %d", length, MaxFrame))
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(conn, body); err != nil {
		return fail(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fail(fmt.Errorf("decode frame: %w", err))
	}
	return files, nil
}

// CloseAll closes every file.
func CloseAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func parseRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var files []*os.File
	for i := range messages {
		fds, err := syscall.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}
