package decode

import "legate/config"

// errorOverrides reads the bodies that failures get. A rule that makes no sense is
// skipped alone; nil stands for a list without one that does.
func (f *fields) errorOverrides() []config.ErrorOverride {
	var rules []config.ErrorOverride
	soft := f.soft
	f.soft = true // what makes no sense takes nothing with it
	list := f.objects("error_response_overrides")
	f.soft = soft
	for _, sub := range list {
		if rule, ok := sub.errorOverride(); ok {
			rules = append(rules, rule)
		}
	}
	if len(list) > 0 && len(rules) == 0 {
		f.o.report(f.at("error_response_overrides"), f.path+"error_response_overrides", "no rule of it makes sense", config.FieldIgnored)
	}
	return rules
}

func (f *fields) errorOverride() (rule config.ErrorOverride, ok bool) {
	rule.Field = f.path[:len(f.path)-1]
	status := f.number("on_status_code", 400, 599)
	if status == nil && !f.has("on_status_code") {
		f.missing("on_status_code")
	}
	body := f.object("body")
	if body == nil && !f.has("body") {
		f.missing("body")
	}
	f.finish(nil)
	if status == nil || body == nil {
		return rule, false
	}
	rule.Status = *status
	return rule, body.overrideBody(&rule)
}

// overrideBody reads what the body is made of.
func (f *fields) overrideBody(rule *config.ErrorOverride) bool {
	kinds := 0
	rule.ContentType = f.text("content_type")
	if rule.Text = f.textPtr("text_format"); rule.Text != nil {
		kinds++
	}
	if e := f.value("json_format"); e != nil {
		kinds++
		if t, ok := f.template(e); ok && t.Kind == config.TemplateObject {
			t = asTexts(t)
			rule.JSON = &t
		} else if ok {
			f.wrong(e, "an object")
		}
	}
	if source := f.object("text_format_source"); source != nil {
		kinds++
		rule.File = source.required("filename")
		source.finish(nil)
	}
	f.finish(nil)
	if kinds != 1 {
		f.o.report(f.node, f.path[:len(f.path)-1], "needs exactly one of text_format, json_format and text_format_source", config.FieldIgnored).Instead = "the rule is skipped"
		return false
	}
	return rule.Text != nil || rule.JSON != nil || rule.File != ""
}

// asTexts makes numbers and booleans texts, as Ambassador does: only a command alone
// becomes a number.
func asTexts(t config.Template) config.Template {
	switch t.Kind {
	case config.TemplateNumber, config.TemplateBool:
		t.Kind = config.TemplateText
	case config.TemplateObject:
		for i := range t.Fields {
			t.Fields[i].Value = asTexts(t.Fields[i].Value)
		}
	case config.TemplateList:
		for i := range t.Items {
			t.Items[i] = asTexts(t.Items[i])
		}
	case config.TemplateText, config.TemplateNull:
	}
	return t
}
