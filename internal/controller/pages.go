package controller

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pageSize is how many objects are read at a time of a kind that is not cached: one
// object can have a megabyte.
const pageSize = 50

// listPages lists the objects of a namespace page by page, and calls each with every
// page. empty is an empty list of their kind.
func listPages(ctx context.Context, reader client.Reader, empty client.ObjectList, namespace string, each func(page client.ObjectList)) error {
	options := &client.ListOptions{Namespace: namespace, Limit: pageSize}
	for {
		// A new list each time: decoding keeps what a list already has.
		page := empty.DeepCopyObject().(client.ObjectList)
		if err := reader.List(ctx, page, options); err != nil {
			return fmt.Errorf("list %T: %w", page, err)
		}
		each(page)
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}
