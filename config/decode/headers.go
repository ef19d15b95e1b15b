package decode

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"legate/config"
)

// headerWishes reads what is changed about headers in one direction, "request" or
// "response".
func (f *fields) headerWishes(direction string) config.HeaderWishes {
	return config.HeaderWishes{
		Add:    f.headerAdds("add_" + direction + "_headers"),
		Remove: f.list("remove_" + direction + "_headers"),
	}
}

// headerAdds returns the headers to add, sorted by name: nil if the field is
// missing, empty if its author wants none.
func (f *fields) headerAdds(name string) []config.HeaderAdd {
	sub := f.object(name)
	if sub == nil {
		return nil
	}
	adds := make([]config.HeaderAdd, 0, len(sub.written))
	for i := range sub.written {
		e := &sub.written[i]
		add := config.HeaderAdd{Name: e.name, Append: true}
		if resolve(e.value).Kind == yaml.MappingNode {
			h := f.o.open(e.value, sub.path+e.name+".")
			add.Value = h.text("value")
			if b := h.flag("append"); b != nil {
				add.Append = *b
			}
			h.take("v2Representation")
			h.finish(nil)
		} else {
			add.Value, _ = sub.scalar(e)
		}
		adds = append(adds, add)
	}
	slices.SortFunc(adds, func(a, b config.HeaderAdd) int { return cmp.Compare(a.Name, b.Name) })
	return adds
}

// defaults reads the Module's defaults: what httpmapping says counts more than what is
// said beside it.
func (f *fields) defaults() (d config.Defaults) {
	all := f.object("defaults")
	if all == nil {
		return d
	}
	scopes := []*fields{all}
	if own := all.object("httpmapping"); own != nil {
		scopes = append(scopes, own)
	}
	for _, scope := range scopes {
		scope.defaultWishes("request", &d.Request)
		scope.defaultWishes("response", &d.Response)
		d.StatsName = cmp.Or(scope.text("stats_name"), d.StatsName)
	}
	d.SecretNamespacing = all.flag("tls_secret_namespacing")
	for _, scope := range scopes {
		scope.finish(nil)
	}
	return d
}

func (f *fields) defaultWishes(direction string, w *config.HeaderWishes) {
	own := f.headerWishes(direction)
	if own.Add != nil {
		w.Add, w.AddField = own.Add, f.path+"add_"+direction+"_headers"
	}
	if own.Remove != nil {
		w.Remove, w.RemoveField = own.Remove, f.path+"remove_"+direction+"_headers"
	}
}

// clientCerts are the words of forward_client_cert_details.
var clientCerts = []string{
	config.SanitizeCerts:      "SANITIZE",
	config.ForwardCerts:       "FORWARD_ONLY",
	config.AppendCerts:        "APPEND_FORWARD",
	config.SetCerts:           "SANITIZE_SET",
	config.AlwaysForwardCerts: "ALWAYS_FORWARD_ONLY",
}

// underscores are the words of headers_with_underscores_action.
var underscores = []string{
	config.AllowUnderscores:  "ALLOW",
	config.RejectUnderscores: "REJECT_REQUEST",
	config.DropUnderscores:   "DROP_HEADER",
}

// headerSettings reads what the Module says of headers.
func (f *fields) headerSettings(m *config.Module) {
	m.Defaults = f.defaults()
	m.ClientCerts = config.ClientCerts(f.word("forward_client_cert_details", clientCerts))          //nolint:gosec // an index
	m.Underscores = config.UnderscoreAction(f.word("headers_with_underscores_action", underscores)) //nolint:gosec // an index
	if details := f.object("set_current_client_cert_details"); details != nil {
		m.ClientCertDetails = config.CertDetails{
			Subject: details.isSet("subject"), Cert: details.isSet("cert"), Chain: details.isSet("chain"),
			DNS: details.isSet("dns"), URI: details.isSet("uri"),
		}
		details.finish(nil)
	}
	m.ProperCase = f.isSet("proper_case")
	m.HeaderCases = f.headerCases()
	if m.ProperCase && len(m.HeaderCases) > 0 {
		f.o.report(f.at("header_case_overrides"), f.path+"header_case_overrides", "proper_case is set too, and counts", config.FieldIgnored)
		m.HeaderCases = nil
	}
}

// word returns which of words a text is, 0 if it is missing or none of them.
func (f *fields) word(name string, words []string) int {
	return max(slices.Index(words, f.oneOf(name, words...)), 0)
}

// headerCases reads the spellings of names to be restored.
func (f *fields) headerCases() (cases []string) {
	for _, name := range f.list("header_case_overrides") {
		if !isToken(strings.ToLower(name)) {
			f.o.report(f.at("header_case_overrides"), f.path+"header_case_overrides", strconv.Quote(name)+" is not a header name", config.FieldIgnored)
			continue
		}
		cases = append(cases, name)
	}
	return cases
}
