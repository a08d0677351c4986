package admin

import (
	"context"
	"fmt"
	"slices"
)

// slugRow is what the queries of slugs return.
type slugRow interface {
	~struct {
		ID   int32
		Slug string
	}
}

// known finds the ids of those slugs that exist.
func known[R slugRow](ctx context.Context, find func(context.Context, []string) ([]R, error), slugs []string) (map[string]int32, error) {
	if len(slugs) == 0 {
		return nil, nil
	}
	rows, err := find(ctx, slugs)
	if err != nil {
		return nil, fmt.Errorf("look slugs up: %w", err)
	}
	ids := make(map[string]int32, len(rows))
	for _, r := range rows {
		n := struct {
			ID   int32
			Slug string
		}(r)
		ids[n.Slug] = n.ID
	}
	return ids, nil
}

// references finds the ids of slugs, sorted, and says at path[i] which slug
// does not exist.
func references[R slugRow](ctx context.Context, f *faults, path, what string, find func(context.Context, []string) ([]R, error), slugs []string) ([]int32, error) {
	ids, err := known(ctx, find, slugs)
	if err != nil {
		return nil, err
	}
	var found []int32
	for i, slug := range slugs {
		id, ok := ids[slug]
		if !ok {
			f.add(fmt.Sprintf("%s[%d]", path, i), slug, "expected the slug of %s that exists", what)
			continue
		}
		found = append(found, id)
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// reference finds the id of one slug and says at path where it does not exist.
func reference[R slugRow](ctx context.Context, f *faults, path, what string, find func(context.Context, []string) ([]R, error), slug string) (int32, error) {
	ids, err := known(ctx, find, []string{slug})
	if err != nil {
		return 0, err
	}
	id, ok := ids[slug]
	if !ok {
		f.add(path, slug, "expected the slug of %s that exists", what)
	}
	return id, nil
}

// tidy sorts a list that is a set and drops repeats; nil becomes empty.
func tidy(list []string) []string {
	sorted := slices.Compact(slices.Sorted(slices.Values(list)))
	if sorted == nil {
		return []string{}
	}
	return sorted
}
