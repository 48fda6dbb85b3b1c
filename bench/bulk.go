package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Of the bulk phase.
const (
	bulkObjects = 10000
	bulkBytes   = 10 << 10
)

// bulk stores many objects of some size, and measures what they cost in memory.
func bulk(ctx context.Context, cs kubernetes.Interface, ns string) {
	before := rss()
	measure("create-configmap-10k", bulkObjects, func(i int) error {
		body := make([]byte, bulkBytes)
		for j := range body {
			body[j] = 'a' + byte((i*7+j*13)%26)
		}
		_, err := cs.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bulk-%05d", i)}, Data: map[string]string{"body": string(body)}}, metav1.CreateOptions{})
		return err
	})
	time.Sleep(5 * time.Second)
	grown := rss() - before
	emit("bulk", map[string]any{"objects": bulkObjects, "bytes_each": bulkBytes, "grown_mb": round(grown), "times_size": round(grown * (1 << 20) / (bulkObjects * bulkBytes))})
	must(cs.CoreV1().ConfigMaps(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
}

// Of the crowd phase.
const (
	crowdRate    = 500 // updates a second
	crowdSeconds = 10
	crowdSampled = 10 // watchers whose events are read; the others take bytes
)

// crowd has many watchers follow all pods while these change at a steady rate,
// and measures how far behind the events come.
func crowd(ctx context.Context, cfg *rest.Config, cs kubernetes.Interface, ns string, watchers int) {
	const pods = 50
	parallel(pods, func(i int) error {
		p := pod(ns, fmt.Sprintf("c-%05d", i))
		p.Spec.SchedulerName = "nobody"
		_, err := cs.CoreV1().Pods(ns).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
	list, err := cs.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{Limit: 1})
	must(err)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var lag []float64
	var taken atomic.Int64
	conf, err := rest.TLSConfigFor(cfg)
	must(err)
	conf.NextProtos = []string{"http/1.1"} // each on a connection of its own, as clients are
	conf.ServerName = "localhost"
	host, err := url.Parse(cfg.Host)
	must(err)
	for w := range watchers {
		body, err := tls.Dial("tcp", host.Host, conf)
		must(err)
		stop := context.AfterFunc(ctx, func() { body.Close() })
		defer stop()
		fmt.Fprintf(body, "GET /api/v1/namespaces/%s/pods?watch=1&resourceVersion=%s HTTP/1.1\r\nHost: bench\r\nAccept: %s\r\n\r\n", ns, list.ResourceVersion, cfg.AcceptContentTypes)
		wg.Go(func() {
			defer body.Close()
			if w >= crowdSampled {
				buf := make([]byte, 16<<10)
				for {
					n, err := body.Read(buf)
					taken.Add(int64(n))
					if err != nil {
						return
					}
				}
			}
			buf := make([]byte, 1<<20)
			var rest []byte
			for {
				n, err := body.Read(buf)
				if err != nil {
					return
				}
				now := time.Now().UnixNano()
				rest = append(rest, buf[:n]...)
				for {
					at := bytes.Index(rest, []byte("sent-"))
					if at < 0 || at+5+19 > len(rest) {
						rest = rest[max(0, len(rest)-64):]
						break
					}
					if t, err := strconv.ParseInt(string(rest[at+5:at+5+19]), 10, 64); err == nil {
						mu.Lock()
						lag = append(lag, float64(now-t)/1e6)
						mu.Unlock()
					}
					rest = rest[at+5+19:]
				}
			}
		})
	}
	c0, t0 := cpu(), time.Now()
	work := make(chan int, crowdRate)
	var senders sync.WaitGroup
	for range 16 {
		senders.Go(func() {
			for i := range work {
				patch := fmt.Sprintf(`{"metadata":{"annotations":{"at":"sent-%d"}}}`, time.Now().UnixNano())
				if _, err := cs.CoreV1().Pods(ns).Patch(ctx, fmt.Sprintf("c-%05d", i%pods), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
					must(err)
				}
			}
		})
	}
	tick := time.NewTicker(time.Second / crowdRate)
	for i := range crowdRate * crowdSeconds {
		<-tick.C
		work <- i
	}
	tick.Stop()
	close(work)
	senders.Wait()
	d := time.Since(t0)
	time.Sleep(500 * time.Millisecond)
	used := cpu() - c0
	cancel()
	wg.Wait()
	sort.Float64s(lag)
	emit("crowd", map[string]any{
		"watchers": watchers, "updates_per_s": round(crowdRate * crowdSeconds / d.Seconds()), "events_seen": len(lag), "taken_mb": taken.Load() >> 20,
		"p50_ms": pct(lag, 50), "p99_ms": pct(lag, 99), "max_ms": pct(lag, 100), "cpu_cores": round(used / d.Seconds()),
	})
}
