package modelfile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/lineage"
)

// maxOfKind is how many facts of a kind one file states. Some model cards list thousands
// of metrics.
const maxOfKind = 16

// maxFactReads is after how many reads of a file its facts must have been read: a
// megabyte, if the reads follow each other.
const maxFactReads = 3

// Facts are what the files of a model state about it.
type Facts struct {
	// Facts have the origin File, and name the file as their source. They are cleaned and
	// bounded as lineage.Files does.
	Facts []v1alpha1.LineageFact
	// Omitted is the number of facts beyond these bounds, or beyond 16 of a kind in a file.
	Omitted int64
	// Unread are clauses, each of which names a file that could not be read, and why.
	Unread []string
}

// ReadFacts returns what the files of a model state about it, of those for which
// StatesFacts is true. A file that is broken, or too large, states nothing. An error is one
// of reading, and an *fs.PathError or that of the context; the facts that were read before
// are valid.
func ReadFacts(ctx context.Context, dir fs.FS, files []File) (Facts, error) {
	var found stated
	for _, s := range statements {
		names := slices.DeleteFunc(slices.Clone(files), func(f File) bool { return f.Size == 0 || !s.matches(f.Path) })
		if len(names) == 0 {
			continue
		}
		// Several files of a format are parts or variants of one model.
		first := slices.MinFunc(names, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
		if err := found.read(ctx, dir, first, s.read); err != nil {
			return found.facts(), err
		}
	}
	return found.facts(), nil
}

// StatesFacts reports whether ReadFacts reads a file with this path: one at the top of the
// model's directory.
func StatesFacts(name string) bool {
	return slices.ContainsFunc(statements, func(s statement) bool { return s.matches(name) })
}

// statement is how the facts of a file are read.
type statement struct {
	// name is the name of the file, or extension that of the files of a format.
	name, extension string
	read            func(r *reader, s *stated) error
}

// statements are in the order in which the facts are listed.
var statements = []statement{
	{name: "README.md", read: readCard},
	{name: "adapter_config.json", read: readAdapterConfig},
	{name: "config.json", read: readConfig},
	{name: "MLmodel", read: readMLmodel},
	{extension: ".gguf", read: readGGUFFacts},
	{extension: ".onnx", read: readONNXFacts},
	{extension: ".safetensors", read: readSafetensorsFacts},
}

func (s statement) matches(name string) bool {
	if s.name != "" {
		return name == s.name
	}
	return !strings.Contains(name, "/") && !isHidden(name) && extension(name) == s.extension
}

// stated collects what files state.
type stated struct {
	// file is the one that is read, ofFile what it has stated until now, and ofKind how many
	// facts of each kind these are.
	file   string
	ofFile []v1alpha1.LineageFact
	ofKind map[v1alpha1.LineageKind]int
	// all is what the files before it have stated.
	all     []v1alpha1.LineageFact
	omitted int64
	unread  []string
}

func (s *stated) read(ctx context.Context, dir fs.FS, file File, read func(*reader, *stated) error) error {
	opened, err := dir.Open(file.Path)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }()
	content, ok := opened.(io.ReaderAt)
	if !ok {
		return &fs.PathError{Op: "read", Path: file.Path, Err: errors.ErrUnsupported}
	}
	r := newReader(ctx, pathReader{ReaderAt: content, path: file.Path}, file.Size)
	s.file, s.ofFile, s.ofKind = file.Path, nil, map[v1alpha1.LineageKind]int{}
	switch err := read(r, s); {
	case err == nil:
		s.all = append(s.all, s.ofFile...)
	case r.failed != nil:
		return r.failed
	default:
		s.unread = append(s.unread, displayName(file.Path)+" "+whyUnread(err))
	}
	return nil
}

// whyUnread returns the predicate of a sentence about a file that states nothing.
func whyUnread(err error) string {
	var found defect
	switch {
	case errors.As(err, &found):
		return found.Error()
	case isMalformed(err):
		return "is not JSON"
	}
	return "is not in the format that its name says"
}

// facts returns what fits of the facts. Metrics come last, since some cards have many.
func (s *stated) facts() Facts {
	slices.SortStableFunc(s.all, func(a, b v1alpha1.LineageFact) int { return metricsLast(a) - metricsLast(b) })
	facts, omitted := lineage.Files(s.all)
	return Facts{Facts: facts, Omitted: s.omitted + omitted, Unread: s.unread}
}

func metricsLast(fact v1alpha1.LineageFact) int {
	if fact.Kind == v1alpha1.MetricFact {
		return 1
	}
	return 0
}

// add adds a fact. What a template of a text was to replace states nothing; Argo would take
// it for an expression, too, also in the name of the file.
func (s *stated) add(fact v1alpha1.LineageFact) {
	if strings.Contains(fact.Name+fact.URI+fact.Value+fact.Dataset, "{{") || strings.Contains(s.file, "{{") {
		return
	}
	if s.ofKind[fact.Kind] == maxOfKind {
		s.omitted++
		return
	}
	s.ofKind[fact.Kind]++
	fact.Origin, fact.Source = v1alpha1.FileFact, s.file
	s.ofFile = append(s.ofFile, fact)
}

// property adds a property with the values, if there are any.
func (s *stated) property(name string, values ...string) {
	if value := strings.Join(values, ", "); value != "" {
		s.add(v1alpha1.LineageFact{Kind: v1alpha1.PropertyFact, Name: name, Value: value})
	}
}

// license adds a license, if there is one, with the address of its text.
func (s *stated) license(identifier, link string) {
	if identifier != "" {
		s.add(v1alpha1.LineageFact{Kind: v1alpha1.LicenseFact, Value: identifier, URI: link})
	}
}

// things adds base models, datasets or runs by their names.
func (s *stated) things(kind v1alpha1.LineageKind, names ...string) {
	for _, name := range names {
		s.add(v1alpha1.LineageFact{Kind: kind, Name: name})
	}
}

// hubName matches the names of models and datasets on the hub of Hugging Face.
var hubName = regexp.MustCompile(`^[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?$`)

// onHub adds base models or datasets whose names are those on the hub of Hugging Face, at
// addresses that begin with a prefix. Other names are none on the hub.
func (s *stated) onHub(kind v1alpha1.LineageKind, prefix string, names ...string) {
	for _, name := range names {
		fact := v1alpha1.LineageFact{Kind: kind, Name: name}
		if hubName.MatchString(name) {
			fact.URI = prefix + name
		}
		s.add(fact)
	}
}
