// etcdbench: the loads of govbench.c, put on etcd by its own client.
//
//	etcdbench leader                         ENDPOINT...
//	etcdbench put SECONDS CLIENTS CONNS      ENDPOINT...
//	etcdbench get SECONDS linear|serial      ENDPOINT
//	etcdbench wake SECONDS                   FROM TO
//	etcdbench gap SECONDS                    ENDPOINT
//	etcdbench fill KEYS                      ENDPOINT...
//	etcdbench keep SECONDS LEASES            ENDPOINT...
//
// CONNS connections are shared by the clients, spread over the endpoints in
// turn; each client has its own key.  What comes out is "name value" lines.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const valueLen = 256

func main() {
	if len(os.Args) < 3 {
		die("usage: etcdbench leader|put|get|wake|gap|fill|keep ...")
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "leader":
		leader(args)
	case "put":
		put(seconds(args[0]), number(args[1]), number(args[2]), args[3:])
	case "get":
		get(seconds(args[0]), args[1] == "serial", args[2])
	case "wake":
		wake(seconds(args[0]), args[1], args[2])
	case "gap":
		gap(seconds(args[0]), args[1])
	case "fill":
		fill(number(args[0]), args[1:])
	case "keep":
		keep(seconds(args[0]), number(args[1]), args[2:])
	default:
		die("there is no " + os.Args[1])
	}
}

func die(what interface{}) {
	fmt.Fprintln(os.Stderr, "etcdbench:", what)
	os.Exit(1)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		die(s + " is not a number")
	}
	return n
}

func seconds(s string) time.Duration {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f <= 0 {
		die(s + " is not a time")
	}
	return time.Duration(f * float64(time.Second))
}

func connect(endpoint string) *clientv3.Client {
	c, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		DialTimeout: 5 * time.Second,
	})
	if err != nil {
		die(err)
	}
	return c
}

// value is another one each time, as the files of govbench are.
func value(client, n int) string {
	return fmt.Sprintf("%-*s", valueLen, fmt.Sprintf("%d %d", client, n))
}

func key(client int) string { return fmt.Sprintf("bench/%d", client) }

func percentile(sorted []time.Duration, permille int) float64 {
	return float64(sorted[(len(sorted)-1)*permille/1000]) / 1e3
}

func report(took []time.Duration) {
	if len(took) == 0 {
		die("nothing succeeded")
	}
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	fmt.Printf("p50 %.1f\np99 %.1f\n", percentile(took, 500),
		percentile(took, 990))
}

// leader prints the place of the leader among the endpoints, from 1.
func leader(endpoints []string) {
	for i, e := range endpoints {
		c := connect(e)
		ctx, cancel := context.WithTimeout(context.Background(),
			time.Second)
		s, err := c.Status(ctx, e)
		cancel()
		c.Close()
		if err == nil && s.Leader == s.Header.MemberId {
			fmt.Println(i + 1)
			return
		}
	}
	os.Exit(1)
}

// clients runs n of them until the time is over: their durations, and how
// many calls ended within it per second.
func clients(n int, d time.Duration, conns []*clientv3.Client,
	call func(c *clientv3.Client, client, n int) error) {
	var wg sync.WaitGroup
	took := make([][]time.Duration, n)
	start := make(chan struct{})
	var end time.Time
	for i := 0; i < n; i++ {
		wg.Add(1)
		c := conns[i%len(conns)]
		if err := call(c, i, 0); err != nil {
			die(err)
		}
		go func(i int) {
			defer wg.Done()
			<-start
			for k := 1; ; k++ {
				t0 := time.Now()
				err := call(c, i, k)
				t1 := time.Now()
				if t1.After(end) {
					return
				}
				if err != nil {
					die(err)
				}
				took[i] = append(took[i], t1.Sub(t0))
			}
		}(i)
	}
	end = time.Now().Add(d)
	close(start)
	wg.Wait()
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	report(all)
	fmt.Printf("rate %.0f\n", float64(len(all))/d.Seconds())
}

func put(d time.Duration, n, n_conns int, endpoints []string) {
	var conns []*clientv3.Client
	for i := 0; i < n_conns; i++ {
		conns = append(conns, connect(endpoints[i%len(endpoints)]))
	}
	clients(n, d, conns, func(c *clientv3.Client, i, k int) error {
		_, err := c.Put(context.Background(), key(i), value(i, k))
		return err
	})
}

func get(d time.Duration, serial bool, endpoint string) {
	var opts []clientv3.OpOption
	if serial {
		opts = append(opts, clientv3.WithSerializable())
	}
	c := connect(endpoint)
	if _, err := c.Put(context.Background(), key(0), value(0, 0)); err != nil {
		die(err)
	}
	clients(1, d, []*clientv3.Client{c},
		func(c *clientv3.Client, i, k int) error {
			_, err := c.Get(context.Background(), key(0), opts...)
			return err
		})
}

// wake: from the begin of a put to its event at a watcher on another node.
func wake(d time.Duration, from, to string) {
	writer, reader := connect(from), connect(to)
	events := reader.Watch(context.Background(), "bench/wake",
		clientv3.WithCreatedNotify())
	<-events
	var took []time.Duration
	end := time.Now().Add(d)
	for n := 1; time.Now().Before(end); n++ {
		woken := make(chan time.Time, 1)
		go func() {
			<-events
			woken <- time.Now()
		}()
		t0 := time.Now()
		_, err := writer.Put(context.Background(), "bench/wake",
			value(0, n))
		if err != nil {
			die(err)
		}
		t1 := <-woken
		took = append(took, t1.Sub(t0))
	}
	report(took)
}

// gap: the longest time without a successful put.  A put that has no leader
// would wait for etcd's own bound of 7 s: short tries show when it is back.
func gap(d time.Duration, endpoint string) {
	c := connect(endpoint)
	last := time.Now()
	end := last.Add(d)
	longest := time.Duration(0)
	for n := 0; time.Now().Before(end); n++ {
		ctx, cancel := context.WithTimeout(context.Background(),
			50*time.Millisecond)
		_, err := c.Put(ctx, key(0), value(0, n))
		cancel()
		now := time.Now()
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		if n > 0 && now.Sub(last) > longest {
			longest = now.Sub(last)
		}
		last = now
	}
	if time.Since(last) > longest {
		longest = time.Since(last)
	}
	fmt.Printf("gap %.1f\n", float64(longest)/1e6)
}

func fill(n int, endpoints []string) {
	const n_workers = 16
	var wg sync.WaitGroup
	for w := 0; w < n_workers; w++ {
		wg.Add(1)
		c := connect(endpoints[w%len(endpoints)])
		go func(w int) {
			defer wg.Done()
			for i := w; i < n; i += n_workers {
				k := fmt.Sprintf("fill/%d", i)
				_, err := c.Put(context.Background(), k,
					value(i, 0))
				if err != nil {
					die(err)
				}
			}
		}(w)
	}
	wg.Wait()
}

// keep has leases of 10 s and says so; its client then renews each of them
// thrice in that time.
func keep(d time.Duration, n int, endpoints []string) {
	const n_workers = 48
	var wg sync.WaitGroup
	renewed := make([]<-chan *clientv3.LeaseKeepAliveResponse, n)
	var conns []*clientv3.Client
	for _, e := range endpoints {
		conns = append(conns, connect(e))
	}
	for w := 0; w < n_workers; w++ {
		wg.Add(1)
		go func(w int) {
			defer wg.Done()
			for i := w; i < n; i += n_workers {
				c := conns[i%len(conns)]
				ctx := context.Background()
				lease, err := c.Grant(ctx, 10)
				if err != nil {
					die(err)
				}
				renewed[i], err = c.KeepAlive(ctx, lease.ID)
				if err != nil {
					die(err)
				}
			}
		}(w)
	}
	wg.Wait()
	fmt.Printf("leases %d\n", n)
	before := waiting(renewed)
	time.Sleep(d)
	fmt.Printf("rate %.0f\n",
		float64(waiting(renewed)-before)/d.Seconds())
}

// waiting counts the answers that nobody has taken: so few are all kept.
func waiting(renewed []<-chan *clientv3.LeaseKeepAliveResponse) int {
	n := 0
	for _, c := range renewed {
		n += len(c)
	}
	return n
}
