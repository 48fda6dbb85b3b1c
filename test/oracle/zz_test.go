package oracle
import ("testing";"github.com/monohull/monohull/internal/api/all")
func TestZZ(t *testing.T){ up,_:=upstream(); s,_:=readSeeds("testdata")
 for _,k:=range all.Table().Kinds(){ r:=up.Resources[k.GVR()]; if r==nil||r.Store==nil||len(k.Versions)==0{continue}
 j:=&Judge{Kind:k,Up:r,Name:nameOf(k.GVK.Group,k.GVK.Kind),used:map[string]int{}}
 for _,v:=range j.versions(){ n:=0; for _,d:=range s[j.Name]{ doc,ok:=j.showIn(v,d); if ok { b:=j.writes; j.CheckVersion(v,doc); n+=j.writes-b } }; t.Log(j.Name,v.GVK.GroupVersion(),n)}}}
