package decode

import "legate/config"

// cors reads what browsers are told about other origins, nil if it is missing. Every
// list may be written as one text with commas, as v1 and v2 had it.
func (f *fields) cors() *config.CORS {
	c := f.object("cors")
	if c == nil {
		return nil
	}
	cors := &config.CORS{
		Origins:        c.commaList("origins"),
		Methods:        c.commaList("methods"),
		Headers:        c.commaList("headers"),
		ExposedHeaders: c.commaList("exposed_headers"),
		Credentials:    c.isSet("credentials"),
		MaxAge:         c.text("max_age"),
	}
	c.take("v2CommaSeparatedOrigins") // what a conversion wrote down for the way back
	c.finish(nil)
	return cors
}
