"""The look of the report, and the paragraph that explains its figures."""

LEGEND = '''
<section><h2>How to read the figures</h2><p><em>Inside</em> and <em>outside</em> are root-mean-square changes over
pixels and channels: 127.5 times the square root of the MSE, in grey levels of 255. The MSE is on the [-1, 1] scale of
the network. <em>Measured</em> compares the edited picture with the unedited one; <em>predicted</em> is what the
Jacobian says. <em>Share inside</em> is the part of the summed squared change that falls into the region.
<em>Eigenvalue</em> is the squared change inside over that outside, with the ridge; <em>residual</em> tells how
exactly it was solved. <em>Step</em> is the length of strength 1 in the latent space.</p></section>
'''

STYLE = '''
:root{--paper:#fbfaf8;--card:#fff;--ink:#1d2126;--quiet:#5d646d;--line:#e4e2dd;--inside:#00629b;--outside:#a3a8ae}
@media(prefers-color-scheme:dark){:root{--paper:#15171a;--card:#1e2125;--ink:#e9e7e3;--quiet:#a2a8b0;--line:#31353b;
--inside:#4fb0e8;--outside:#767d86}.paper{filter:brightness(.9)}.plot{filter:invert(.88) hue-rotate(180deg)}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%;overflow-wrap:anywhere}
main{max-width:1120px;margin:0 auto;padding:48px 24px 96px}
header{display:flex;flex-wrap:wrap;gap:24px;align-items:flex-start;justify-content:space-between}
header>div{flex:1 1 320px;min-width:0}
.sample{width:264px;max-width:40%;border-radius:10px;display:block}
h1,h2,h3,h4{line-height:1.25;margin:0;font-weight:600;letter-spacing:-.01em}
h1{font-size:34px;margin-bottom:24px}
h2{font-size:26px;margin-bottom:12px}
h3{font-size:18px;margin:40px 0 12px}
h4{font-size:16px;margin-bottom:10px}
p{max-width:72ch;margin:0 0 16px}
.eyebrow,.quiet,figcaption,dt,.word,thead th{color:var(--quiet);font-size:14px}
.eyebrow{margin-bottom:6px}
.lead{font-size:18px}
section{border-top:1px solid var(--line);margin-top:56px;padding-top:40px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:0}
dd{margin:0}
nav{display:flex;flex-wrap:wrap;gap:8px;margin-top:24px}
nav a{color:var(--ink);text-decoration:none;border:1px solid var(--line);border-radius:99px;padding:4px 16px;
background:var(--card)}
nav a:hover{border-color:var(--inside)}
tbody .label{display:block}
figure{margin:0;min-width:0}
figcaption{margin-top:8px;line-height:1.4}
img{max-width:100%;height:auto;display:block}
.figures{display:flex;gap:20px}
.figures figure{flex:1 1 0}
.figures img{width:100%}
.photo,.plot,.paper{border-radius:6px}
.hold{display:block;width:100%;padding:0;border:0;border-radius:6px;background-size:100% 100%;cursor:pointer;
user-select:none;-webkit-user-select:none;-webkit-touch-callout:none;touch-action:manipulation}
.hold img{width:100%;pointer-events:none}
.hold:active img{opacity:0}
:focus-visible{outline:3px solid var(--inside);outline-offset:2px}
.scroll{overflow-x:auto;border-radius:6px}
.scroll img{width:100%;min-width:760px}
article{margin-bottom:32px}
.label{font-weight:400;color:var(--inside)}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:12px 24px 12px 0;border-bottom:1px solid var(--line);font-weight:400}
thead th{padding-bottom:6px;white-space:nowrap}
tbody th{font-weight:600}
.word{display:none}
.wide{width:26%}
.short{white-space:nowrap}
.bar{display:block;position:relative;height:8px;margin:6px 0;border-radius:4px;background:var(--line)}
.bar i{display:block;height:100%;border-radius:4px;background:var(--inside)}
.bar.outside i{background:var(--outside)}
.bar b{position:absolute;top:-3px;bottom:-3px;width:2px;margin-left:-1px;background:var(--ink)}
code{font:14px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{margin:0 0 24px;padding:14px 18px;border:1px solid var(--line);border-radius:6px;background:var(--card);
white-space:pre-wrap}
summary{cursor:pointer;color:var(--quiet);padding:10px 0}
.pair{display:flex;gap:20px;max-width:860px}
.pair figure{flex:1}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:0 40px}
.columns h3{margin-top:8px}
.note{border-left:3px solid var(--inside);padding-left:14px}
@media(max-width:720px){
main{padding:28px 18px 64px}
header{flex-direction:column;gap:24px}
.sample{width:100%;max-width:320px}
h1{font-size:28px}
.figures{flex-direction:column;gap:24px}
thead{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
table,tbody{display:block}
tr{display:grid;grid-template-columns:1fr 1fr 1fr;gap:10px 16px;padding:16px 0;border-bottom:1px solid var(--line)}
th,td{border:0;padding:0}
tbody th,.wide,.share{grid-column:1/-1;width:auto}
td::before{content:attr(data-head);display:block;color:var(--quiet);font-size:14px}
.word{display:inline;color:inherit;font-size:inherit}
.pair{gap:10px}}
'''
