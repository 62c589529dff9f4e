package source

import (
	"context"
	"slices"

	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/modelfile"
)

// ReadFacts returns what the files of the model state about it. An error is a
// *failure.Error or that of the context; the facts that were read before are valid.
func ReadFacts(ctx context.Context, files Files, plan layer.Plan) (modelfile.Facts, error) {
	stating := slices.DeleteFunc(plan.Entries(), func(e layer.Entry) bool { return !modelfile.StatesFacts(e.Path) })
	if len(stating) == 0 {
		return modelfile.Facts{}, nil
	}
	dir := files.FS(ctx, plan)
	var listed []modelfile.File
	for _, entry := range stating {
		file, isFile, err := fileOf(dir, entry)
		if err != nil {
			return modelfile.Facts{}, err
		}
		if isFile {
			listed = append(listed, file)
		}
	}
	facts, err := modelfile.ReadFacts(ctx, dir, listed)
	if err != nil {
		err = ofRead(err)
	}
	return facts, err
}
