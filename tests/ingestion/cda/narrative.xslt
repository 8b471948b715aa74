<?xml version="1.0"?>
<!-- StrucDoc to the XHTML of R4 narrative.html: what is not named here gives its text alone. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:h="urn:hl7-org:v3"
    xmlns="http://www.w3.org/1999/xhtml" exclude-result-prefixes="h">
  <xsl:output method="xml" omit-xml-declaration="yes" indent="no"/>

  <xsl:template match="h:text"><div><xsl:apply-templates/></div></xsl:template>
  <!-- Patterns have no predicates: for one, the place among all siblings is counted, for each of them. -->
  <xsl:template match="*"><xsl:call-template name="seen"/></xsl:template>
  <xsl:template match="h:paragraph|h:content|h:list|h:item|h:caption|h:table|h:thead|h:tbody|h:tfoot|h:tr|h:th|h:td|h:col|h:colgroup|h:sub|h:sup|h:br|h:linkHtml|h:footnote|h:footnoteRef|h:renderMultiMedia">
    <xsl:call-template name="seen"/>
  </xsl:template>

  <!-- What was taken back must not read as if it stood. -->
  <xsl:template name="seen">
    <xsl:choose>
      <xsl:when test="@revised='delete'">
        <span style="text-decoration:line-through"><xsl:apply-templates select="." mode="as"/></span>
      </xsl:when>
      <xsl:otherwise><xsl:apply-templates select="." mode="as"/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template match="*" mode="as"><xsl:apply-templates/></xsl:template>
  <xsl:template match="h:paragraph" mode="as"><p><xsl:call-template name="inside"/></p></xsl:template>
  <xsl:template match="h:list" mode="as">
    <xsl:choose>
      <xsl:when test="@listType='ordered'"><ol><xsl:call-template name="inside"/></ol></xsl:when>
      <xsl:otherwise><ul><xsl:call-template name="inside"/></ul></xsl:otherwise>
    </xsl:choose>
  </xsl:template>
  <xsl:template match="h:item" mode="as"><li><xsl:call-template name="inside"/></li></xsl:template>
  <xsl:template match="h:caption" mode="as"><b><xsl:call-template name="inside"/></b></xsl:template>
  <xsl:template match="h:table/h:caption" mode="as" priority="2"><caption><xsl:call-template name="inside"/></caption></xsl:template>
  <xsl:template match="h:table" mode="as"><table><xsl:call-template name="inside"/></table></xsl:template>
  <xsl:template match="h:thead" mode="as"><thead><xsl:call-template name="inside"/></thead></xsl:template>
  <xsl:template match="h:tbody" mode="as"><tbody><xsl:call-template name="inside"/></tbody></xsl:template>
  <xsl:template match="h:tfoot" mode="as"><tfoot><xsl:call-template name="inside"/></tfoot></xsl:template>
  <xsl:template match="h:tr" mode="as"><tr><xsl:call-template name="inside"/></tr></xsl:template>
  <xsl:template match="h:th" mode="as"><th><xsl:call-template name="inside"/></th></xsl:template>
  <xsl:template match="h:td" mode="as"><td><xsl:call-template name="inside"/></td></xsl:template>
  <xsl:template match="h:colgroup" mode="as"><colgroup><xsl:call-template name="inside"/></colgroup></xsl:template>
  <xsl:template match="h:col" mode="as"><col><xsl:call-template name="numbers"/></col></xsl:template>
  <xsl:template match="h:br" mode="as"><br/></xsl:template>
  <xsl:template match="h:sub" mode="as"><sub><xsl:call-template name="inside"/></sub></xsl:template>
  <xsl:template match="h:sup" mode="as"><sup><xsl:call-template name="inside"/></sup></xsl:template>
  <xsl:template match="h:footnote|h:footnoteRef" mode="as"><span><xsl:call-template name="inside"/></span></xsl:template>
  <xsl:template match="h:renderMultiMedia" mode="as">
    <span><xsl:call-template name="id"/>[<xsl:value-of select="@referencedObject"/>]<xsl:apply-templates/></span>
  </xsl:template>
  <xsl:template match="h:content" mode="as">
    <xsl:variable name="styles" select="concat(' ', normalize-space(@styleCode), ' ')"/>
    <span>
      <xsl:call-template name="id"/>
      <xsl:choose>
        <xsl:when test="contains($styles, ' Bold ')"><b><xsl:apply-templates/></b></xsl:when>
        <xsl:when test="contains($styles, ' Italics ')"><i><xsl:apply-templates/></i></xsl:when>
        <xsl:when test="contains($styles, ' Underline ')"><u><xsl:apply-templates/></u></xsl:when>
        <xsl:otherwise><xsl:apply-templates/></xsl:otherwise>
      </xsl:choose>
    </span>
  </xsl:template>
  <xsl:template match="h:linkHtml" mode="as">
    <xsl:variable name="href" select="translate(normalize-space(@href), 'HTPSMAILO', 'htpsmailo')"/>
    <a>
      <xsl:if test="starts-with($href, 'http://') or starts-with($href, 'https://') or starts-with($href, 'mailto:') or starts-with($href, '#')">
        <xsl:attribute name="href"><xsl:value-of select="normalize-space(@href)"/></xsl:attribute>
      </xsl:if>
      <xsl:call-template name="inside"/>
    </a>
  </xsl:template>

  <xsl:template name="inside">
    <xsl:call-template name="id"/>
    <xsl:call-template name="numbers"/>
    <xsl:apply-templates/>
  </xsl:template>
  <xsl:template name="id">
    <xsl:if test="@ID and not(contains(@ID, ' '))"><xsl:attribute name="id"><xsl:value-of select="@ID"/></xsl:attribute></xsl:if>
  </xsl:template>
  <xsl:template name="numbers">
    <xsl:for-each select="@colspan|@rowspan|@span">
      <xsl:if test="number(.) &gt; 0 and number(.) &lt;= 1000">
        <xsl:attribute name="{local-name()}"><xsl:value-of select="round(number(.))"/></xsl:attribute>
      </xsl:if>
    </xsl:for-each>
  </xsl:template>
</xsl:stylesheet>
