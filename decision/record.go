package decision

import "time"

// A Record is the whole story of one request. It is a value: nothing in it is
// allocated on the good path.
type Record struct {
	Steps      [NumStages]Reason // what each stage said
	Ended      Stage             // who answered; Proxy if the upstream did
	Status     uint16            // what the client received; 0 if nothing was sent
	By         string            // the object that decided, rendered at compile time
	RetryAfter time.Duration     // 0 for none
	Err        error             // for operators only; clients never see its text
}

// End notes that stage s answered with reason r, in the name of object by.
// err is what the operator sees beside it; nil for none.
func (rec *Record) End(s Stage, r Reason, by string, err error) {
	rec.Steps[s] = r
	rec.Ended = s
	rec.Status = reasons[r].status
	rec.By = by
	rec.Err = err
}

// Reason returns the reason of the stage that ended the request.
func (rec *Record) Reason() Reason { return rec.Steps[rec.Ended] }
