package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// requests are requests of the operator.
type requests struct {
	// count has the number of requests by verb and resource, such as "get workflows".
	count map[string]int
	// last is when the API server received the last one.
	last time.Time
}

func (r *requests) add(event auditEvent) {
	resource := "discovery"
	if ref := event.ObjectRef; ref != nil {
		resource = strings.TrimSuffix(ref.Resource+"/"+ref.Subresource, "/")
	}
	if event.Verb == "watch" || resource == "leases" {
		return
	}
	r.count[event.Verb+" "+resource]++
	if event.Received.After(r.last) {
		r.last = event.Received
	}
}

func (r *requests) join(more requests) {
	for name, n := range more.count {
		r.count[name] += n
	}
	if more.last.After(r.last) {
		r.last = more.last
	}
}

// sum returns the number of requests with one of these verbs, and of those about events
// if events is true.
func (r requests) sum(events bool, verbs ...string) int {
	sum := 0
	for name, n := range r.count {
		verb, resource, _ := strings.Cut(name, " ")
		if slices.Contains(verbs, verb) && (resource == "events") == events {
			sum += n
		}
	}
	return sum
}

func (r requests) writes() int { return r.sum(false, "create", "update", "patch", "delete") }
func (r requests) events() int { return r.sum(true, "create", "update", "patch", "delete") }
func (r requests) gets() int   { return r.sum(false, "get") - r.count["get discovery"] }
func (r requests) lists() int  { return r.sum(false, "list") }
func (r requests) all() int    { return r.writes() + r.events() + r.gets() + r.lists() }

// String returns the counts, for the log.
func (r requests) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.count)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, r.count[name]))
	}
	return strings.Join(parts, ", ")
}
