//! The statistics as comma-separated values, in the columns of HAProxy 2.6.

use std::fmt::Write as _;

use super::overview::{Overview, Row, Value};

/// Writes the table, its header first.
pub(super) fn write(overview: &Overview<'_>) -> String {
    write_rows(&overview.rows())
}

/// Writes the table of some rows, its header first.
pub(super) fn write_rows(rows: &[Row<'_>]) -> String {
    let mut table = format!("# {COLUMNS}\n");
    for row in rows {
        for column in COLUMNS.split_terminator(',') {
            match row.value(column) {
                Some(Value::Text(text)) => write!(table, "{}", quoted(&text)),
                Some(value @ (Value::Count(_) | Value::Micros(_) | Value::Negative)) => write!(table, "{value}"),
                // The column that ends those every reader may rely on.
                None if column == "-" => write!(table, "-"),
                None => Ok(()),
            }
            .expect("writing to a string cannot fail");
            table.push(',');
        }
        table.push('\n');
    }
    table
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// HAProxy's columns up to the one that ends the fixed part.
pub(super) const COLUMNS: &str = "pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,\
    weight,act,bck,chkfail,chkdown,lastchg,downtime,qlimit,pid,iid,sid,throttle,lbtot,tracked,type,rate,rate_lim,rate_max,\
    check_status,check_code,check_duration,hrsp_1xx,hrsp_2xx,hrsp_3xx,hrsp_4xx,hrsp_5xx,hrsp_other,hanafail,req_rate,req_rate_max,\
    req_tot,cli_abrt,srv_abrt,comp_in,comp_out,comp_byp,comp_rsp,lastsess,last_chk,last_agt,qtime,ctime,rtime,ttime,agent_status,\
    agent_code,agent_duration,check_desc,agent_desc,check_rise,check_fall,check_health,agent_rise,agent_fall,agent_health,addr,\
    cookie,mode,algo,conn_rate,conn_rate_max,conn_tot,intercepted,dcon,dses,wrew,connect,reuse,cache_lookups,cache_hits,srv_icur,\
    src_ilim,qtime_max,ctime_max,rtime_max,ttime_max,eint,idle_conn_cur,safe_conn_cur,used_conn_cur,need_conn_est,uweight,\
    agg_server_status,agg_server_check_status,agg_check_status,-,";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_text_is_quoted() {
        assert_eq!(quoted("plain text"), "plain text");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
