package streams

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reason and cause type by which clients find an exit code in a Status.
const (
	nonZeroExitCode = "NonZeroExitCode"
	exitCodeCause   = "ExitCode"
)

// refuse answers a request that was not upgraded.
func refuse(w http.ResponseWriter, err error) {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewInternalError(err)
	}
	status := known.Status()
	status.Kind, status.APIVersion = "Status", "v1"
	body, err := json.Marshal(status)
	if err != nil {
		http.Error(w, status.Message, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(int(status.Code))
	w.Write(append(body, '\n'))
}

func success() metav1.Status { return metav1.Status{Status: metav1.StatusSuccess} }

func exited(cmd []string, code int) metav1.Status {
	return metav1.Status{
		Status:  metav1.StatusFailure,
		Reason:  nonZeroExitCode,
		Message: fmt.Sprintf("command terminated with non-zero exit code: error executing command %v, exit code %d", cmd, code),
		Details: &metav1.StatusDetails{
			Causes: []metav1.StatusCause{{Type: exitCodeCause, Message: strconv.Itoa(code)}},
		},
	}
}

func failed(err error) metav1.Status {
	return apierrors.NewInternalError(err).Status()
}

// encodeStatus gives the bytes of the error stream: JSON since the fourth
// version of the protocol, before it the bare message of a failure.
func encodeStatus(status metav1.Status, structured bool) []byte {
	if !structured {
		if status.Status == metav1.StatusSuccess {
			return nil
		}
		return []byte(status.Message)
	}
	body, err := json.Marshal(status)
	if err != nil { // a Status of strings and numbers always encodes
		return []byte(status.Message)
	}
	return body
}
