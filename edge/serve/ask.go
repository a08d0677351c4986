package serve

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/valyala/fasthttp"

	"nearside/edge/creative"
	"nearside/edge/decision"
	"nearside/sync/catalog"
)

// field is a parameter of the decision API, in the order in which errors name
// them.
type field uint8

const (
	placementsField field = iota
	publisherField
	keywordsField
	campaignTypesField
	urlField
	placementIndexField
	rotationsField
	userIPField
	userUAField
	forceAdField
	forceCampaignField
	fields
)

var fieldNames = [fields]string{
	"placements", "publisher", "keywords", "campaign_types", "url", "placement_index", "rotations",
	"user_ip", "user_ua", "force_ad", "force_campaign",
}

// Limits of one request.
const (
	maxKeywords      = 100 // more are an error
	keptKeywords     = 20  // those beyond are ignored
	maxCampaignTypes = 10
	maxPlacements    = 100
	maxPageURL       = 256
	maxInteger       = 1000 // digits
)

// What is wrong with a field, in the words of the reference server.
const (
	required    = "This field is required."
	notBlank    = "This field may not be blank."
	notNull     = "This field may not be null."
	notString   = "Not a valid string."
	notInteger  = "A valid integer is required."
	nullByte    = "Null characters are not allowed."
	notAnIP     = "Invalid IPv4 or IPv6 address"
	badPageURL  = "Invalid ad referring URL"
	badType     = "Invalid campaign type"
	badSlug     = `Enter a valid \"slug\" consisting of letters, numbers, underscores or hyphens.`
	noPublisher = "Invalid publisher"
	disabled    = "Disabled publisher"
	noPlacement = "At least one placement is required"
)

// wanted is what a decision request asks for.
type wanted struct {
	publisher      string
	placements     []decision.Placement
	keywords       []string
	known          *decision.Known // nil: they are this request's alone
	types          decision.Types
	url            string
	placementIndex int
	rotations      int
	userIP         netip.Addr
	userUA         []byte
	forceAd        string
	forceCampaign  string
}

// ask reads what a request wants. Its strings alias the request's buffers and its
// own, so it is good until the request is answered.
type ask struct {
	wanted

	given [fields]bool
	wrong [fields]string // the value beside the field's name in the answer; "" where nothing is wrong
	bad   bool           // something is, or was before a later value took its place

	native bool  // this is for the native API
	counts []int // of offers, by placement; for the native API

	arena []byte // of strings that were escaped in JSON
	lists [3][]byte
	json  jsontext.Decoder
	body  bytes.Buffer
}

func (a *ask) reset() {
	a.publisher, a.url, a.forceAd, a.forceCampaign = "", "", "", ""
	a.placements, a.keywords, a.arena = a.placements[:0], a.keywords[:0], a.arena[:0]
	a.types, a.placementIndex, a.rotations = 0, 0, 1
	a.userIP, a.userUA = netip.Addr{}, nil
	a.given = [fields]bool{}
	a.lists = [3][]byte{}
	if a.bad {
		a.wrong, a.bad = [fields]string{}, false
	}
}

// fail notes what is wrong with a field.
func (a *ask) fail(f field, message string) { a.failRaw(f, `["`+message+`"]`) }

func (a *ask) failRaw(f field, value string) {
	a.wrong[f], a.bad = value, true
}

// failed reports whether something is wrong.
func (a *ask) failed() bool { return a.bad && a.wrong != [fields]string{} }

// failItem notes what is wrong with one item of a list.
func (a *ask) failItem(f field, i int, message string) {
	if a.wrong[f] == "" {
		a.failRaw(f, `{"`+strconv.Itoa(i)+`":["`+message+`"]}`)
	}
}

// forget makes a repeated field start over: the last one counts.
func (a *ask) forget(f field) { a.given[f], a.wrong[f] = true, "" }

// appendErrors appends the answer for a request with something wrong in it.
func (a *ask) appendErrors(dst []byte) []byte {
	separator := byte('{')
	for f, value := range a.wrong {
		if value == "" {
			continue
		}
		dst = append(append(dst, separator, '"'), fieldNames[f]...)
		dst = append(append(dst, '"', ':'), value...)
		separator = ','
	}
	return append(dst, '}')
}

// readQuery reads the parameters of a GET. Of repeated ones the last counts.
func (a *ask) readQuery(args *fasthttp.Args) {
	for key, value := range args.All() {
		a.parameter(key, value)
	}
	a.endOfQuery()
}

// The lists of a GET that are paired.
const divIDs, adTypes, priorities = 0, 1, 2

// parameter takes one of a GET.
func (a *ask) parameter(key, value []byte) {
	switch string(key) {
	case "publisher":
		a.text(publisherField, value)
	case "div_ids":
		a.lists[divIDs] = value
	case "ad_types":
		a.lists[adTypes] = value
	case "priorities":
		a.lists[priorities] = value
	case "keywords":
		a.keywordList(value)
	case "campaign_types":
		a.typeList(value)
	case "url":
		a.text(urlField, value)
	case "placement_index":
		a.text(placementIndexField, value)
	case "rotations":
		a.text(rotationsField, value)
	case "user_ip":
		a.text(userIPField, value)
	case "force_ad":
		a.text(forceAdField, value)
	case "force_campaign":
		a.text(forceCampaignField, value)
	}
}

// endOfQuery comes after the last parameter.
func (a *ask) endOfQuery() {
	// A GET names nobody else's reader: that is for servers, which POST.
	a.userIP = netip.Addr{}
	a.placementLists(a.lists[divIDs], a.lists[adTypes], a.lists[priorities])
	if !a.given[publisherField] {
		a.fail(publisherField, required)
	}
}

func (a *ask) keywordList(list []byte) {
	a.forget(keywordsField)
	a.keywords = a.keywords[:0]
	n := 0
	for more := true; more; {
		var k []byte
		k, list, more = bytes.Cut(list, []byte("|"))
		if len(k) > 0 {
			a.keyword(k)
			n++
		}
	}
	a.countKeywords(n)
}

func (a *ask) keyword(k []byte) {
	if k = bytes.TrimSpace(k); len(k) > 0 && len(a.keywords) < keptKeywords {
		a.keywords = append(a.keywords, text(k))
	}
}

func (a *ask) countKeywords(n int) {
	if n > maxKeywords {
		a.fail(keywordsField, "Ensure this field has no more than 100 elements.")
	}
}

func (a *ask) typeList(list []byte) {
	a.forget(campaignTypesField)
	a.types = 0
	n := 0
	for more := true; more; {
		var t []byte
		t, list, more = bytes.Cut(list, []byte("|"))
		if len(t) > 0 {
			a.campaignType(n, t)
			n++
		}
	}
	a.countTypes(n)
}

func (a *ask) campaignType(i int, b []byte) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		a.failItem(campaignTypesField, i, notBlank)
		return
	}
	for t, name := range campaignTypes {
		if name == string(b) {
			a.types |= 1 << t
			return
		}
	}
	if a.wrong[campaignTypesField] == "" {
		a.fail(campaignTypesField, badType)
	}
}

// campaignTypes are the names, by number.
var campaignTypes = func() (names [catalog.House + 1]string) {
	for t := range names {
		names[t] = catalog.CampaignType(t).String()
	}
	return names
}()

func (a *ask) countTypes(n int) {
	if n > maxCampaignTypes {
		a.fail(campaignTypesField, "Ensure this field has no more than 10 elements.")
	}
}

// placementLists pairs the lists of a GET. What has no partner is dropped.
func (a *ask) placementLists(divIDs, adTypes, priorities []byte) {
	var problems placementProblems
	for moreDivs, moreTypes, morePriorities := true, true, true; moreDivs && moreTypes; {
		var d, t, p []byte
		d, divIDs, moreDivs = bytes.Cut(divIDs, []byte("|"))
		t, adTypes, moreTypes = bytes.Cut(adTypes, []byte("|"))
		if morePriorities {
			p, priorities, morePriorities = bytes.Cut(priorities, []byte("|"))
		}
		if len(a.placements) == maxPlacements {
			a.tooManyPlacements()
			return
		}
		var pl decision.Placement
		var problem placementProblem
		pl.DivID, problem[0] = required1(d)
		pl.AdType, problem[1] = required1(t)
		pl.Priority = 1
		if len(p) > 0 {
			pl.Priority, problem[2] = integer(p, 1, 10)
		}
		problems.add(problem)
		a.placement(pl)
	}
	a.placementProblems(problems)
}

func required1(b []byte) (s, problem string) {
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return "", notBlank
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return "", nullByte
	}
	return text(b), ""
}

func (a *ask) placement(p decision.Placement) {
	if p.AdType == "text-only-large-v1" { // renamed there; the old name is still in pages
		p.AdType = "logo-large-v1"
	}
	a.placements = append(a.placements, p)
}

func (a *ask) tooManyPlacements() {
	a.fail(placementsField, "Ensure this field has no more than 100 elements.")
}

// placementProblem is what is wrong with div_id, ad_type and priority, with the
// placement as a whole, or with count.
type placementProblem [5]string

var placementNames = [len(placementProblem{})]string{"div_id", "ad_type", "priority", "non_field_errors", "count"}

// placementProblems are kept from the first placement that has one on.
type placementProblems struct {
	before int
	list   []placementProblem
}

func (p *placementProblems) add(problem placementProblem) {
	if problem == (placementProblem{}) && p.list == nil {
		p.before++
		return
	}
	p.list = append(p.list, problem)
}

func (a *ask) placementProblems(p placementProblems) {
	if p.list == nil {
		return
	}
	b := []byte{'['}
	for range p.before {
		b = append(b, "{},"...)
	}
	for i, problem := range p.list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for j, message := range problem {
			if message == "" {
				continue
			}
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), placementNames[j]...), `":["`...)
			b = append(append(b, message...), `"]`...)
		}
		b = append(b, '}')
	}
	a.failRaw(placementsField, string(append(b, ']')))
}

// text takes a parameter that is one string or number.
func (a *ask) text(f field, value []byte) {
	a.forget(f)
	value = bytes.TrimSpace(value)
	switch f {
	case placementIndexField:
		var problem string
		if a.placementIndex, problem = integer(value, 0, 999); problem != "" {
			a.fail(f, problem)
		}
		return
	case rotationsField:
		var problem string
		if a.rotations, problem = integer(value, 1, 9); problem != "" {
			a.fail(f, problem)
		}
		return
	}
	s, problem := required1(value)
	if problem != "" {
		a.fail(f, problem)
		return
	}
	switch f {
	case publisherField:
		a.publisher = s
		for i := range len(s) {
			if c := s[i]; !isAlphaNumeric(c) && c != '-' && c != '_' {
				a.fail(f, badSlug)
				return
			}
		}
	case urlField:
		a.url = s
		switch {
		case longer(s, maxPageURL):
			a.fail(f, "Ensure this field has no more than 256 characters.")
		case !validURL(value):
			a.fail(f, badPageURL)
		}
	case userIPField:
		first, _, _ := bytes.Cut(value, []byte(","))
		addr, err := netip.ParseAddr(text(bytes.TrimSpace(first)))
		if err != nil || bytes.IndexByte(first, '%') >= 0 {
			a.fail(f, notAnIP)
			return
		}
		a.userIP = addr.Unmap()
	case userUAField:
		a.userUA = value
	case forceAdField:
		a.forceAd = s
	case forceCampaignField:
		a.forceCampaign = s
	}
}

// longer reports whether s has more than n characters.
func longer(s string, n int) bool {
	if len(s) <= n {
		return false
	}
	for range s {
		if n--; n < 0 {
			return true
		}
	}
	return false
}

// integer reads a whole number between low and high, as Python would.
func integer(b []byte, low, high int) (n int, problem string) {
	b = bytes.TrimSpace(b)
	if len(b) > maxInteger {
		return 0, "String value too large."
	}
	if i := bytes.IndexByte(b, '.'); i >= 0 && len(bytes.Trim(b[i+1:], "0")) == 0 {
		b = b[:i]
	}
	negative := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		negative = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, notInteger
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, notInteger
		}
		n = min(n*10+int(c-'0'), 1<<30)
	}
	if negative {
		n = -n
	}
	switch {
	case n < low:
		return 0, "Ensure this value is greater than or equal to " + strconv.Itoa(low) + "."
	case n > high:
		return 0, "Ensure this value is less than or equal to " + strconv.Itoa(high) + "."
	}
	return n, ""
}

// notObject says that the body is JSON, but no object: what it is instead.
type notObject string

func (n notObject) Error() string {
	return "Invalid data. Expected a dictionary, but got " + string(n) + "."
}

// readJSON reads the body of a POST. An error says that it is not JSON, or
// notObject; what is wrong with a field is noted in a.
func (a *ask) readJSON(body []byte) error {
	if len(body) == 0 {
		body = []byte("{}")
	}
	a.body = *bytes.NewBuffer(body)
	a.json.Reset(&a.body, jsontext.AllowDuplicateNames(true))
	if a.json.PeekKind() != '{' {
		kind := a.json.PeekKind()
		if err := a.json.SkipValue(); err != nil {
			return err
		}
		if err := a.atEnd(); err != nil {
			return err
		}
		return notObject(typeName(kind))
	}
	if _, err := a.json.ReadToken(); err != nil {
		return err
	}
	for a.json.PeekKind() != '}' {
		name, err := a.json.ReadValue()
		if err != nil {
			return err
		}
		key, err := jsontext.AppendUnquote(a.arena[len(a.arena):], name)
		if err != nil {
			return err
		}
		if err := a.member(string(key)); err != nil {
			return err
		}
	}
	if _, err := a.json.ReadToken(); err != nil {
		return err
	}
	if err := a.atEnd(); err != nil {
		return err
	}
	if !a.given[publisherField] {
		a.fail(publisherField, required)
	}
	if !a.given[placementsField] {
		a.fail(placementsField, required)
	}
	return nil
}

func (a *ask) atEnd() error {
	if a.json.PeekKind() != 0 {
		return errors.New("more than one value")
	}
	if _, err := a.json.ReadToken(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (a *ask) member(name string) error {
	switch name {
	case "placements":
		return a.placementArray()
	case "keywords":
		a.keywords = a.keywords[:0]
		n := 0
		err := a.array(keywordsField, func(i int, v jsontext.Value) {
			n++
			if s, problem := a.scalar(v); problem != "" {
				a.failItem(keywordsField, i, problem)
			} else {
				a.keyword(s)
			}
		})
		a.countKeywords(n)
		return err
	case "campaign_types":
		a.types = 0
		n := 0
		err := a.array(campaignTypesField, func(i int, v jsontext.Value) {
			n++
			if s, problem := a.scalar(v); problem != "" {
				a.failItem(campaignTypesField, i, problem)
			} else {
				a.campaignType(i, s)
			}
		})
		a.countTypes(n)
		return err
	}
	v, err := a.json.ReadValue()
	if err != nil {
		return err
	}
	for f, known := range fieldNames {
		if known != name {
			continue
		}
		if s, problem := a.scalar(v); problem != "" {
			a.forget(field(f))
			if problem == notString && (field(f) == placementIndexField || field(f) == rotationsField) {
				problem = notInteger
			}
			a.fail(field(f), problem)
		} else {
			a.text(field(f), s)
		}
		break
	}
	return nil
}

// scalar is the text of a JSON string or number.
func (a *ask) scalar(v jsontext.Value) (s []byte, problem string) {
	switch v.Kind() {
	case '"':
		from := len(a.arena)
		b, err := jsontext.AppendUnquote(a.arena, v)
		if err != nil {
			return nil, notString
		}
		a.arena = b
		return b[from:], ""
	case '0':
		from := len(a.arena)
		a.arena = append(a.arena, v...)
		return a.arena[from:], ""
	case 'n':
		return nil, notNull
	}
	return nil, notString
}

// array reads a list and hands over its items.
func (a *ask) array(f field, item func(int, jsontext.Value)) error {
	a.forget(f)
	if kind := a.json.PeekKind(); kind != '[' {
		a.notAList(f, kind)
		return a.json.SkipValue()
	}
	if _, err := a.json.ReadToken(); err != nil {
		return err
	}
	for i := 0; a.json.PeekKind() != ']'; i++ {
		v, err := a.json.ReadValue()
		if err != nil {
			return err
		}
		item(i, v)
	}
	_, err := a.json.ReadToken()
	return err
}

func (a *ask) notAList(f field, kind jsontext.Kind) {
	switch kind {
	case 'n':
		a.fail(f, notNull)
	case '"', '0', 't', 'f', '{':
		message := `Expected a list of items but got type \"` + typeName(kind) + `\".`
		if f == placementsField {
			a.failRaw(f, `{"non_field_errors":["`+message+`"]}`)
		} else {
			a.fail(f, message)
		}
	}
}

// typeName is what Python calls a JSON value.
func typeName(k jsontext.Kind) string {
	switch k {
	case '"':
		return "str"
	case '0':
		return "int"
	case 't', 'f':
		return "bool"
	case '{':
		return "dict"
	case '[':
		return "list"
	}
	return "NoneType"
}

func (a *ask) placementArray() error {
	a.forget(placementsField)
	a.placements, a.counts = a.placements[:0], a.counts[:0]
	if kind := a.json.PeekKind(); kind != '[' {
		a.notAList(placementsField, kind)
		return a.json.SkipValue()
	}
	if _, err := a.json.ReadToken(); err != nil {
		return err
	}
	var problems placementProblems
	n := 0
	for ; a.json.PeekKind() != ']'; n++ {
		if n >= maxPlacements {
			if err := a.json.SkipValue(); err != nil {
				return err
			}
			continue
		}
		p, count, problem, err := a.placementObject()
		if err != nil {
			return err
		}
		problems.add(problem)
		a.placement(p)
		a.counts = append(a.counts, count)
	}
	if _, err := a.json.ReadToken(); err != nil {
		return err
	}
	switch {
	case n == 0:
		a.fail(placementsField, noPlacement)
	case n > maxPlacements:
		a.tooManyPlacements()
	default:
		a.placementProblems(problems)
	}
	return nil
}

func (a *ask) placementObject() (p decision.Placement, count int, problem placementProblem, err error) {
	const divID, adType, priority, whole, counted = 0, 1, 2, 3, 4
	if kind := a.json.PeekKind(); kind != '{' {
		problem[whole] = `Invalid data. Expected a dictionary, but got ` + typeName(kind) + `.`
		return p, count, problem, a.json.SkipValue()
	}
	if _, err := a.json.ReadToken(); err != nil {
		return p, count, problem, err
	}
	problem[divID], problem[adType] = required, required
	p.Priority, count = 1, 1
	for a.json.PeekKind() != '}' {
		name, err := a.json.ReadValue()
		if err != nil {
			return p, count, problem, err
		}
		var which int
		switch string(name) {
		case `"div_id"`:
			which = divID
		case `"ad_type"`:
			which = adType
		case `"priority"`:
			which = priority
		case `"count"`:
			if which = counted; !a.native {
				which = -1
			}
		default:
			which = -1
		}
		if which < 0 {
			if err := a.json.SkipValue(); err != nil {
				return p, count, problem, err
			}
			continue
		}
		v, err := a.json.ReadValue()
		if err != nil {
			return p, count, problem, err
		}
		s, wrong := a.scalar(v)
		switch {
		case wrong == notString && (which == priority || which == counted):
			wrong = notInteger
		case wrong != "":
		case which == divID:
			p.DivID, wrong = required1(s)
		case which == adType:
			p.AdType, wrong = required1(s)
		case which == priority:
			p.Priority, wrong = integer(s, 1, 10)
		case which == counted:
			count, wrong = integer(s, 1, maxCount)
		}
		problem[which] = wrong
	}
	_, err = a.json.ReadToken()
	return p, count, problem, err
}

// appendDetail appends an answer that is about the request as a whole.
func appendDetail(dst []byte, detail string) []byte {
	return append(creative.AppendEscaped(append(dst, `{"detail":"`...), detail), `"}`...)
}
